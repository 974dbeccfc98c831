import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  type GetSummaryResponse,
  GetSummaryResponseSchema,
  Granularity,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { calendarUnits } from "../../../src/summaries/granularity.ts";
import { calendarPeriodsStatement } from "../../../src/summaries/sql/summarize-calendar-periods.ts";
import { summaryRequest } from "../../../src/summaries/summary-request.ts";
import { recordManyEntries } from "../../support/many-entries.ts";
import type { BenchmarkDatabase } from "./database.ts";
import type { GrpcClient } from "./grpc-client.ts";

const path = "/dailyaggregator.v1.LearningLogService/GetSummary";

/** The year that summaries are asked of: one that is over, so that it can be memoized. */
export const year = { from: "2025-01-01T00:00:00Z", to: "2025-12-31T12:00:00Z", days: 365 };

/** A learner who studies some six times a day: as many quarters of an hour in a year have entries. */
export const usualEntries = 2190;

/** An entry in each quarter of an hour. */
export const mostBuckets = 35_040;

/** @param count how many entries the learner has in the year */
export async function recordYear({ admin }: BenchmarkDatabase, userId: string, count: number): Promise<void> {
  await recordManyEntries(admin, { userId, count, from: "2025-01-01Z", to: "2026-01-01Z" });
}

/** A learner's year by day. @param shiftMs moves its start, for a request that was not made before */
export function yearByDay(userId: string, shiftMs = 0): GetSummaryRequest {
  return create(GetSummaryRequestSchema, {
    userId,
    from: timestampFromDate(new Date(Date.parse(year.from) + shiftMs)),
    to: timestampFromDate(new Date(year.to)),
    granularity: Granularity.DAY,
    timeZone: "Europe/Berlin",
  });
}

/** @throws if it is not answered with the year */
export async function getSummary(
  client: GrpcClient,
  request: GetSummaryRequest,
): Promise<GetSummaryResponse> {
  const { status, message, body } = await client.unary(path, GetSummaryRequestSchema, request);
  if (status !== 0) throw new Error(`GetSummary ended with status ${status}: ${message}`);
  const response = fromBinary(GetSummaryResponseSchema, body);
  if (response.periods.length !== year.days) throw new Error(`it has ${response.periods.length} periods`);
  return response;
}

/** The statement that the service runs to answer the request. */
export function statementFor(message: GetSummaryRequest) {
  const { granularity, range } = summaryRequest(message);
  const unit = calendarUnits.get(granularity);
  if (unit === undefined) throw new Error("hours have another statement");
  return calendarPeriodsStatement(unit, range);
}

/** What one would write by hand: right for days that begin at midnight and have entries, and for nothing else. */
export function plainStatementFor({ userId, from, to, timeZone }: GetSummaryRequest) {
  return {
    name: "plain-summary",
    text: `
      SELECT
        date_trunc('day', bucket, $4) AS period,
        sum(total_word_count)::double precision / sum(entry_count) AS average_words_learned,
        sum(total_word_count)::bigint AS total_word_count,
        sum(entry_count)::bigint AS entry_count
      FROM learning_log_aggregates
      WHERE user_id = $1
        AND bucket >= date_trunc('day', to_timestamp($2), $4)
        AND bucket < date_trunc('day', to_timestamp($3), $4) + interval '1 day'
      GROUP BY period
      ORDER BY period`,
    values: [userId, Number(from?.seconds), Number(to?.seconds), timeZone],
  };
}
