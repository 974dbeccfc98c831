import { create } from "@bufbuild/protobuf";
import type pg from "pg";
import {
  type GetSummaryRequest,
  type GetSummaryResponse,
  GetSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { periodSummary, summarize } from "./summarize.ts";
import type { SummaryMemo } from "./summary-memo.ts";
import { canonicalKey, nextPageToken, summaryRequest } from "./summary-request.ts";

/**
 * Adds up one learner's entries per period; from memory where nothing can have changed.
 *
 * @param message valid by the rules of the schema
 * @param signal aborting it cancels the statement, unless others wait for the same one
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does
 */
export async function getSummary(
  pool: pg.Pool,
  memo: SummaryMemo<GetSummaryResponse>,
  message: GetSummaryRequest,
  signal: AbortSignal,
): Promise<GetSummaryResponse> {
  const request = summaryRequest(message);
  const question = {
    userId: message.userId,
    key: canonicalKey(request),
    async compute(computationSignal: AbortSignal) {
      const { periods, next, isClosed } = await summarize(pool, request, computationSignal);
      const value = create(GetSummaryResponseSchema, {
        periods: periods.map(periodSummary),
        nextPageToken: nextPageToken(request, next),
      });
      return { value, isClosed };
    },
  };
  return memo.answer(question, signal);
}

/** About what a response takes in memory, in bytes: measured on a year of days. */
export function summaryBytes({ periods }: GetSummaryResponse): number {
  return 500 + 400 * periods.length;
}
