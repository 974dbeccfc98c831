import type { DescMessage } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { invalidArgument } from "./invalid-argument.ts";

/** 9999-01-01T00:00:00Z: nothing that is counted from there on could be written as a Timestamp. */
const endSeconds = 253_370_764_800n;

/**
 * Checks what the rules of the schema could say, too, but these are evaluated by an interpreter: they take 25 µs for each
 * timestamp, as long as all else of a call.
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
