import { create } from "@bufbuild/protobuf";
import {
  type GetSummaryRequest,
  type GetSummaryResponse,
  GetSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import type { CallContext } from "../call-context.ts";
import { periodSummary, type SummaryPools, summarize } from "./summarize.ts";
import type { SummaryMemo } from "./summary-memo.ts";
import { canonicalKey, nextPageToken, summaryRequest } from "./summary-request.ts";

/** What summaries are made of, and memoized in. */
export interface GetSummaryDependencies<Encoded> {
  readonly pools: SummaryPools;
  readonly memo: SummaryMemo<Encoded>;
  /** What is memoized of an answer: its binary form takes a sixteenth of the message's memory. */
  encode(answer: GetSummaryResponse): Encoded;
}

/**
 * Adds up one learner's entries per period; from memory where nothing can have changed.
 *
 * @param message valid by the rules of the schema
 * @param context whoever gives up cancels the statement, unless others wait for the same one
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does
 */
export function getSummary<Encoded>(
  { pools, memo, encode }: GetSummaryDependencies<Encoded>,
  message: GetSummaryRequest,
  context: CallContext,
): Promise<Encoded> {
  const request = summaryRequest(message);
  const question = {
    userId: message.userId,
    key: canonicalKey(request),
    async compute(signal: AbortSignal) {
      const { periods, next, end } = await summarize(pools, request, signal);
      const answer = create(GetSummaryResponseSchema, {
        periods: periods.map(periodSummary),
        nextPageToken: nextPageToken(request, next),
      });
      return { value: encode(answer), end: end * 1_000_000n };
    },
  };
  return memo.answer(question, context);
}
