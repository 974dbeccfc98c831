/** The maximum length of a caller's input in a message, in characters. */
const maxLength = 100;

/** Shortens a caller's input for use in an error or log message. */
export function shorten(text: string): string {
  if (text.length <= maxLength) return text;
  // The cut may split a surrogate pair, and a lone surrogate cannot be encoded.
  return `${text.slice(0, maxLength).toWellFormed()}…`;
}
