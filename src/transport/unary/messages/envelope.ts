/** The size of the prefix of each gRPC and gRPC-Web message: one byte of flags and four bytes of length. */
export const prefixBytes = 5;

/**
 * Fills an envelope as connect's encodeEnvelope does, but in memory that the caller allocates.
 *
 * @param envelope must be as large as the prefix and the data together
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
 * Reads the length of a message, which follows the flags in big-endian order. Reads single bytes, because creating a
 * DataView is more expensive.
 *
 * @param start the index of the envelope's first byte
 */
export function messageLength(bytes: Uint8Array, start: number): number {
  const byte = (index: number) => bytes[start + index] ?? 0;
  return ((byte(1) << 24) | (byte(2) << 16) | (byte(3) << 8) | byte(4)) >>> 0;
}
