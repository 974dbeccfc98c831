import type { DescMessage } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { invalidArgument } from "./invalid-argument.ts";

/**
 * The binary format can carry any number of nanos; google/protobuf/timestamp.proto sets the limits.
 *
 * @param schema the request's message
 * @param path the field, as in `entries[3].timestamp`
 * @throws ConnectError INVALID_ARGUMENT
 */
export function requireValidTimestamp(schema: DescMessage, path: string, { nanos }: Timestamp): void {
  if (nanos < 0 || nanos > 999_999_999) {
    throw invalidArgument(schema, path, "timestamp.nanos", "must have nanos from 0 to 999,999,999");
  }
}
