import type { DescMessage } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { invalidArgument } from "./invalid-argument.ts";

/** 9999-01-01T00:00:00Z. Periods after it may end in the year 10000, which a Timestamp cannot represent. */
const endSeconds = 253_370_764_800n;

/**
 * Checks a timestamp in code. An interpreter evaluates the rules of the schema: it would take 25 µs for each timestamp,
 * as long as the rest of a call.
 *
 * @param schema the request's message
 * @param path the field, as in `entries[3].timestamp`
 * @throws ConnectError INVALID_ARGUMENT
 */
export function requireValidTimestamp(
  schema: DescMessage,
  path: string,
  { seconds, nanos }: Timestamp,
): void {
  if (seconds < 0n || seconds >= endSeconds) {
    const message = "must be from 1970-01-01T00:00:00Z to before 9999-01-01T00:00:00Z";
    throw invalidArgument(schema, path, "timestamp.gte_lt", message);
  }
  // The binary format can carry any number of nanos; google/protobuf/timestamp.proto sets the limits.
  if (nanos < 0 || nanos > 999_999_999) {
    throw invalidArgument(schema, path, "timestamp.nanos", "must have nanos from 0 to 999,999,999");
  }
}

/**
 * Checks `from` and `to`, if they are set, and that `from` is not after `to`.
 *
 * @param schema the request's message, which has `from` and `to`
 * @throws ConnectError INVALID_ARGUMENT
 */
export function requireValidRange(
  schema: DescMessage,
  from: Timestamp | undefined,
  to: Timestamp | undefined,
): void {
  if (from) requireValidTimestamp(schema, "from", from);
  if (to) requireValidTimestamp(schema, "to", to);
  if (from && to && isAfter(from, to)) {
    throw invalidArgument(schema, "from", "range.from_not_after_to", "must not be after to");
  }
}

function isAfter(one: Timestamp, other: Timestamp): boolean {
  return one.seconds === other.seconds ? one.nanos > other.nanos : one.seconds > other.seconds;
}
