/** Microseconds since 1970. @param text an instant with its offset, such as 2024-03-31T00:00+02:00 */
export function micros(text: string): bigint {
  return Temporal.Instant.from(text).epochNanoseconds / 1000n;
}
