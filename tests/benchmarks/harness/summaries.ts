import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  Granularity,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { calendarUnits } from "../../../src/summaries/granularity.ts";
import { calendarPeriodsStatement } from "../../../src/summaries/sql/summarize-calendar-periods.ts";
import { summaryRequest } from "../../../src/summaries/summary-request.ts";
import { recordManyEntries } from "../../support/record-entries.ts";
import type { BenchmarkDatabase } from "./database.ts";
import { frame, type GrpcClient } from "./grpc-client.ts";
import type { RawGrpcClient } from "./raw-grpc-client.ts";

type Year = { readonly from: number; readonly to: number };

export const getSummaryPath = "/dailyaggregator.v1.LearningLogService/GetSummary";

const dayMs = 24 * 60 * 60 * 1000;
const days = 365;

/** A year that has ended, so that its summaries are memoized. */
export const closedYear = { from: Date.UTC(2025, 0, 1), to: Date.UTC(2025, 11, 31, 12) };

/** A year that ends now, so that its summaries are not memoized. */
export const openYear = { from: Math.floor(Date.now() / dayMs - days + 1) * dayMs, to: Date.now() };

/** The number of entries, and of buckets, of a learner who studies six times a day for a year. */
export const usualEntries = 2190;

/** The number of buckets of a year if each has an entry. */
export const mostBuckets = 35_040;

/** @param count how many entries the learner has in the year */
export async function recordYear(
  { admin }: BenchmarkDatabase,
  userId: string,
  count: number,
  year: Year,
): Promise<void> {
  const from = new Date(year.from).toISOString();
  const to = new Date(year.from + days * dayMs).toISOString();
  await recordManyEntries(admin, { userId, count, from, to });
}

/** A request for a learner's year by day. @param shiftMs moves the start, so that the request is a new one */
export function yearByDay(userId: string, year: Year, shiftMs = 0): GetSummaryRequest {
  return create(GetSummaryRequestSchema, {
    userId,
    from: timestampFromMs(year.from + shiftMs),
    to: timestampFromMs(year.to),
    granularity: Granularity.DAY,
    timeZone: "Europe/Berlin",
  });
}

/**
 * Requests a summary. Does not decode the answer, because this takes longer than the service needs to send a memoized
 * one.
 *
 * @throws if the call fails, or the answer is too short for a year
 */
export async function getSummary(client: GrpcClient, request: GetSummaryRequest): Promise<void> {
  const { status, message, body } = await client.unary(getSummaryPath, GetSummaryRequestSchema, request);
  if (status !== 0) throw new Error(`GetSummary ended with status ${status}: ${message}`);
  if (body.length < days * leastPeriodBytes) throw new Error(`the answer has only ${body.length} bytes`);
}

/** The same with a client that takes less time. */
export async function getSummaryRaw(client: RawGrpcClient, request: GetSummaryRequest): Promise<void> {
  const bodyBytes = await client.call(frame(toBinary(GetSummaryRequestSchema, request)));
  if (bodyBytes < days * leastPeriodBytes) throw new Error(`the answer has only ${bodyBytes} bytes`);
}

/** The least size of a period: its tag and length, and the tag, length, tag and seconds of its timestamp. */
const leastPeriodBytes = 10;

/** The statement that the service runs to answer the request. */
export function statementFor(message: GetSummaryRequest) {
  const { granularity, range } = summaryRequest(message);
  const unit = calendarUnits.get(granularity);
  if (unit === undefined) throw new Error("summaries by hour use a different statement");
  return calendarPeriodsStatement(unit, range);
}

/** A statement written by hand. It is correct only if all days begin at midnight and have entries. */
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
