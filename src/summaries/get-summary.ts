import { create } from "@bufbuild/protobuf";
import {
  type GetSummaryRequest,
  type GetSummaryResponse,
  GetSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import type { CallContext } from "../call-context.ts";
import { periodSummary } from "./period-summary.ts";
import { type SummaryDependencies, summarize } from "./summarize.ts";
import type { SummaryMemo } from "./summary-memo.ts";
import { canonicalKey, nextPageToken, summaryRequest } from "./summary-request.ts";

/** What summaries are computed with, and the memo that stores them. */
export interface GetSummaryDependencies<Encoded> extends SummaryDependencies {
  readonly memo: SummaryMemo<Encoded>;
  /** Encodes a response for the memo. The binary form takes a sixteenth of the memory of the message. */
  encode(response: GetSummaryResponse): Encoded;
}

/**
 * Adds up one learner's entries per period. Returns the memoized response if no entry can have changed since.
 *
 * @param message valid by the rules of the schema
 * @param context if its signal aborts, the statement is cancelled, unless other calls wait for the same one
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does
 */
export function getSummary<Encoded>(
  { memo, encode, ...dependencies }: GetSummaryDependencies<Encoded>,
  message: GetSummaryRequest,
  context: CallContext,
): Promise<Encoded> {
  const request = summaryRequest(message);
  const keyed = {
    userId: message.userId,
    key: canonicalKey(request),
    async compute(signal: AbortSignal) {
      const { periods, next, end } = await summarize(dependencies, request, signal);
      const response = create(GetSummaryResponseSchema, {
        periods: periods.map(periodSummary),
        nextPageToken: nextPageToken(request, next),
      });
      return { summary: encode(response), end: end * 1_000_000n };
    },
  };
  return memo.answer(keyed, context);
}
