import type { GetSummaryRequest, WatchSummaryResponse } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { CallContext } from "../call-context.ts";
import type { SummaryFeeds } from "./summary-feeds.ts";
import { maxPageSize, summaryRequest } from "./summary-request.ts";

/**
 * Answers a whole summary, and then the periods that change, until the caller leaves.
 *
 * @param message valid by the rules of the schema; its page size and page token are ignored
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does, and for more than 10,000 periods
 * @throws ConnectError UNAVAILABLE when the instance shuts down, or the database stays away
 * @throws ConnectError RESOURCE_EXHAUSTED when the database stays busy
 */
export async function* watchSummary(
  { feeds }: { readonly feeds: SummaryFeeds },
  message: GetSummaryRequest,
  { signal }: CallContext,
): AsyncIterable<WatchSummaryResponse> {
  const request = summaryRequest({ ...message, pageSize: maxPageSize, pageToken: "" });
  yield* feeds.follow(request, signal);
}
