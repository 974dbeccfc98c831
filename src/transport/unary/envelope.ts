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
