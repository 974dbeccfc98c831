import type { GetSummaryRequest, WatchSummaryResponse } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { CallContext } from "../call-context.ts";
import type { SummaryFeeds } from "./summary-feeds.ts";
import { maxPageSize, summaryRequest } from "./summary-request.ts";

/**
 * Yields a whole summary, and then the periods that change, until the call is cancelled.
 *
 * @param message valid by the rules of the schema; its page size and page token are ignored
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does, and for more than 10,000 periods
 * @throws ConnectError UNAVAILABLE if the instance shuts down, if the database is unavailable at the start, or if it
 * becomes unavailable later and stays so for 30 seconds
 * @throws ConnectError RESOURCE_EXHAUSTED if the database stays busy for 30 seconds
 */
export async function* watchSummary(
  { feeds }: { readonly feeds: SummaryFeeds },
  message: GetSummaryRequest,
  { signal }: CallContext,
): AsyncIterable<WatchSummaryResponse> {
  const request = summaryRequest({ ...message, pageSize: maxPageSize, pageToken: "" });
  yield* feeds.follow(request, signal);
}
