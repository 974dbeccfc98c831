const maxLength = 80;

/** Prepares text of a file for a message: cuts it to 80 characters, and replaces control characters. */
export function printable(text: string): string {
  const plain = text.slice(0, maxLength).replaceAll(/\p{Cc}/gu, "\ufffd");
  return text.length > maxLength ? `${plain}…` : plain;
}
