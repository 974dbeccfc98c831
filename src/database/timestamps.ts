import { create } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";

// Timestamps travel to and from the database as whole microseconds since 1970: what PostgreSQL stores, and what
// neither a Date nor a double in seconds holds. In SQL: `timestamptz 'epoch' + $1 * interval '1 microsecond'`
// (exact to the year 2255) and `(extract(epoch FROM timestamp) * 1000000)::bigint`.

/** Microseconds since 1970; what is finer is cut off, so that an instant never moves into the next period. */
export function microsFromTimestamp({ seconds, nanos }: Timestamp): bigint {
  return seconds * 1_000_000n + BigInt(Math.floor(nanos / 1000));
}

/** @param micros since 1970, negative before */
export function timestampFromMicros(micros: bigint): Timestamp {
  const remainder = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  return create(TimestampSchema, {
    seconds: (micros - remainder) / 1_000_000n,
    nanos: Number(remainder) * 1000,
  });
}
