import type { DescMessage } from "@bufbuild/protobuf";
import type { CreateEntryRequest } from "#gen/dailyaggregator/v1/entry_pb.js";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { requireValidTimestamp } from "../validation/timestamps.ts";

const maxAheadSeconds = 24 * 60 * 60;

/**
 * Checks of an entry what the rules of the schema do not say.
 *
 * @param schema the request that the entry came in
 * @param path leads from that request to the entry: empty, or as in `entries[3].`
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
