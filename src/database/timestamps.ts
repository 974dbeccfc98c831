import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

// Timestamps are sent to the database and read from it as whole microseconds since 1970. This is PostgreSQL's own
// resolution, and neither a Date nor a double in seconds has it. In SQL:
// `timestamptz 'epoch' + $1 * interval '1 microsecond'` (exact to the year 2255) and
// `(extract(epoch FROM timestamp) * 1000000)::bigint`.

/** @returns microseconds since 1970, rounded down, so that a timestamp never moves into the next period */
export function microsFromTimestamp({ seconds, nanos }: Timestamp): bigint {
  return seconds * 1_000_000n + BigInt(Math.floor(nanos / 1000));
}

/** @param micros microseconds since 1970; negative before 1970 */
export function timestampFromMicros(micros: bigint): Timestamp {
  const remainder = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  return create(TimestampSchema, {
    seconds: (micros - remainder) / 1_000_000n,
    nanos: Number(remainder) * 1000,
  });
}
