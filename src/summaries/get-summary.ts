import type { GetSummaryRequest } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { CallContext } from "../call-context.ts";
import { encodeSummary } from "./encode-summary.ts";
import { type SummaryDependencies, summarize } from "./summarize.ts";
import type { SummaryMemo } from "./summary-memo.ts";
import { canonicalKey, nextPageToken, summaryRequest } from "./summary-request.ts";

/** What summaries are computed with, and the memo that stores them. */
export interface GetSummaryDependencies<Summary> extends SummaryDependencies {
  readonly memo: SummaryMemo<Summary>;
  /** Wraps a GetSummaryResponse in binary form, which takes a sixteenth of the memory of the message. */
  wrap(bytes: Uint8Array): Summary;
}

/**
 * Adds up one learner's entries per period. Returns the memoized response if no entry can have changed since.
 *
 * @param message valid by the rules of the schema
 * @param context if its signal aborts, the statement is cancelled, unless other calls wait for the same one
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does
 */
export function getSummary<Summary>(
  { memo, wrap, ...dependencies }: GetSummaryDependencies<Summary>,
  message: GetSummaryRequest,
  context: CallContext,
): Promise<Summary> {
  const request = summaryRequest(message);
  const keyed = {
    userId: message.userId,
    key: canonicalKey(request),
    async compute(signal: AbortSignal) {
      const { periods, next, end } = await summarize(dependencies, request, signal);
      const bytes = encodeSummary(periods, nextPageToken(request, next));
      return { summary: wrap(bytes), end: end * 1_000_000n };
    },
  };
  return memo.answer(keyed, context);
}
