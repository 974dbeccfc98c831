/** One byte of flags, and the length in four bytes, go before each message of gRPC and gRPC-Web. */
export const prefixBytes = 5;

/**
 * Fills an envelope, as encodeEnvelope of connect does, but in memory of the caller's choice.
 *
 * @param envelope is as large as the data with its prefix
 */
export function fillEnvelope(envelope: Uint8Array, flags: number, data: Uint8Array): void {
  const length = data.byteLength;
  envelope[0] = flags;
  envelope[1] = length >>> 24;
  envelope[2] = length >>> 16;
  envelope[3] = length >>> 8;
  envelope[4] = length;
  envelope.set(data, prefixBytes);
}

/**
 * Reads the length of a message: big-endian, behind the flags. A DataView costs more than the four bytes.
 *
 * @param start where the envelope begins
 */
export function messageLength(bytes: Uint8Array, start: number): number {
  const byte = (index: number) => bytes[start + index] ?? 0;
  return ((byte(1) << 24) | (byte(2) << 16) | (byte(3) << 8) | byte(4)) >>> 0;
}
