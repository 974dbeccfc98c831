import { create, toBinary } from "@bufbuild/protobuf";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { RawHttp2 } from "./raw-http2.ts";
import { slowSummaryRequest } from "./slow-summaries.ts";

/** The number of clients that open a slow summary. Others do not, so that some database connections stay free. */
const slowClients = 3;

/**
 * Opens everything that a client can have open: a watch, a call without its message, a stream without a batch, and, for
 * the first clients, a slow summary.
 *
 * @param index the number of the client, which decides its learners
 */
export async function openEverything(client: RawHttp2, index: number): Promise<void> {
  await client.call("WatchSummary", recentDays(`watched ${index}`));
  await client.call("CreateEntry");
  await client.call("ImportEntries");
  if (index >= slowClients) return;
  const slow = create(GetSummaryRequestSchema, slowSummaryRequest(`slow ${index}`));
  await client.call("GetSummary", toBinary(GetSummaryRequestSchema, slow));
}

/** An encoded request for a summary that is answered at once. */
export function recentDays(userId: string): Uint8Array {
  const now = BigInt(Math.floor(Date.now() / 1000));
  const request = create(GetSummaryRequestSchema, {
    userId,
    granularity: Granularity.DAY,
    from: { seconds: now - 86_400n },
    to: { seconds: now },
  });
  return toBinary(GetSummaryRequestSchema, request);
}
