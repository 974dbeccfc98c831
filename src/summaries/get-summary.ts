import { create, toBinary } from "@bufbuild/protobuf";
import type pg from "pg";
import { type GetSummaryRequest, GetSummaryResponseSchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { Caller } from "../caller.ts";
import { periodSummary, summarize } from "./summarize.ts";
import type { SummaryMemo } from "./summary-memo.ts";
import { canonicalKey, nextPageToken, summaryRequest } from "./summary-request.ts";

/** A GetSummaryResponse in binary form: what is memoized, for it takes a sixteenth of the message's memory. */
export type EncodedSummary = Uint8Array<ArrayBuffer>;

/**
 * Adds up one learner's entries per period; from memory where nothing can have changed.
 *
 * @param message valid by the rules of the schema
 * @param caller whoever gives up cancels the statement, unless others wait for the same one
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does
 */
export function getSummary(
  pool: pg.Pool,
  memo: SummaryMemo<EncodedSummary>,
  message: GetSummaryRequest,
  caller: Caller,
): Promise<EncodedSummary> {
  const request = summaryRequest(message);
  const question = {
    userId: message.userId,
    key: canonicalKey(request),
    async compute(computationSignal: AbortSignal) {
      const { periods, next, isClosed } = await summarize(pool, request, computationSignal);
      const response = create(GetSummaryResponseSchema, {
        periods: periods.map(periodSummary),
        nextPageToken: nextPageToken(request, next),
      });
      return { value: toBinary(GetSummaryResponseSchema, response), isClosed };
    },
  };
  return memo.answer(question, caller);
}

/** About what the memo takes for a summary, in bytes: there are a few objects around it. */
export function summaryBytes({ byteLength }: EncodedSummary): number {
  return 500 + byteLength;
}
