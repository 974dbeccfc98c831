/** How much of what a caller sent an error repeats, in characters. */
const maxLength = 100;

/** Cuts what an error repeats of its caller's input. */
export function shorten(text: string): string {
  if (text.length <= maxLength) return text;
  // A cut through a surrogate pair leaves a half that cannot be encoded.
  return `${text.slice(0, maxLength).toWellFormed()}…`;
}
