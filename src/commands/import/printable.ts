const maxLength = 80;

/** Text of a file, for a message: no longer than a line, and without what a terminal would take for a command. */
export function printable(text: string): string {
  const plain = text.slice(0, maxLength).replaceAll(/\p{Cc}/gu, "\ufffd");
  return text.length > maxLength ? `${plain}…` : plain;
}
