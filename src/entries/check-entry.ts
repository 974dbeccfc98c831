import type { DescMessage } from "@bufbuild/protobuf";
import type { CreateEntryRequest } from "#gen/dailyaggregator/v1/entry_pb.js";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { requireValidTimestamp } from "../validation/timestamps.ts";

const maxAheadSeconds = 24 * 60 * 60;

/**
 * Checks the timestamp of an entry, for which the schema has no rules. An entry without a timestamp is valid.
 *
 * @param schema the request message that contains the entry
 * @param path the prefix of the entry's fields within that message: empty, or as in `entries[3].`
 * @param nowMs milliseconds since 1970
 * @throws ConnectError INVALID_ARGUMENT
 */
export function checkEntry(
  schema: DescMessage,
  path: string,
  { timestamp }: CreateEntryRequest,
  nowMs: number,
): void {
  if (timestamp === undefined) return;
  const timestampPath = `${path}timestamp`;
  requireValidTimestamp(schema, timestampPath, timestamp);
  if (Number(timestamp.seconds) > nowMs / 1000 + maxAheadSeconds) {
    throw invalidArgument(
      schema,
      timestampPath,
      "timestamp.at_most_24h_ahead",
      "must be at most 24 hours ahead of the server's clock",
    );
  }
}
