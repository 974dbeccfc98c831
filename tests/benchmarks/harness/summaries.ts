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

/** A year that is over, so that summaries of it are memoized. */
export const closedYear = { from: Date.UTC(2025, 0, 1), to: Date.UTC(2025, 11, 31, 12) };

/** A year up to now, so that they are not. */
export const openYear = { from: Math.floor(Date.now() / dayMs - days + 1) * dayMs, to: Date.now() };

/** A learner who studies some six times a day: as many quarters of an hour in a year have entries. */
export const usualEntries = 2190;

/** An entry in each quarter of an hour. */
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

/** A learner's year by day. @param shiftMs moves its start, for a request that was not made before */
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
 * Does not decode the answer: that takes longer than it takes the service to send a memoized one.
 *
 * @throws if it is not answered with the year
 */
export async function getSummary(client: GrpcClient, request: GetSummaryRequest): Promise<void> {
  const { status, message, body } = await client.unary(getSummaryPath, GetSummaryRequestSchema, request);
  if (status !== 0) throw new Error(`GetSummary ended with status ${status}: ${message}`);
  if (body.length < days * leastPeriodBytes) throw new Error(`the answer has only ${body.length} bytes`);
}

/** The same with a client whose load is lighter. */
export async function getSummaryRaw(client: RawGrpcClient, request: GetSummaryRequest): Promise<void> {
  const bodyBytes = await client.call(frame(toBinary(GetSummaryRequestSchema, request)));
  if (bodyBytes < days * leastPeriodBytes) throw new Error(`the answer has only ${bodyBytes} bytes`);
}

/** A period's tag and length, and its timestamp's tag, length, tag and seconds. */
const leastPeriodBytes = 10;

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
