import { create, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  Granularity,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { recordManyEntries } from "../../support/record-entries.ts";
import type { BenchmarkDatabase } from "./database.ts";
import { frame, type GrpcClient } from "./grpc-client.ts";
import type { RawGrpcClient } from "./raw-grpc-client.ts";

type Range = { readonly from: number; readonly to: number };

export const getSummaryPath = "/dailyaggregator.v1.LearningLogService/GetSummary";

const dayMs = 24 * 60 * 60 * 1000;
const days = 365;

/** A year that has ended, so that its summaries are memoized. */
export const closedYear = { from: Date.UTC(2025, 0, 1), to: Date.UTC(2025, 11, 31, 12) };

/** A year that ends now, so that its summaries are not memoized. */
export const openYear = lastDays(days);

/** The number of entries, and of buckets, of a learner who studies six times a day for a year. */
export const usualEntries = 2190;

/** The number of entries, and of buckets, of a learner who seldom studies. */
export const fewEntries = 100;

/** The number of buckets of a year if each has an entry. */
export const mostBuckets = 35_040;

/** @param count how many entries the learner has in the year */
export async function recordYear(
  { admin }: BenchmarkDatabase,
  userId: string,
  count: number,
  year: Range,
): Promise<void> {
  const from = new Date(year.from).toISOString();
  const to = new Date(year.from + days * dayMs).toISOString();
  await recordManyEntries(admin, { userId, count, from, to });
}

/** The days before now, whose summaries are not memoized. */
export function lastDays(count: number): Range {
  return { from: Math.floor(Date.now() / dayMs - count + 1) * dayMs, to: Date.now() };
}

/** A request for a learner's year by day. @param shiftMs moves the start, so that the request is a new one */
export function yearByDay(userId: string, year: Range, shiftMs = 0): GetSummaryRequest {
  return summaryOf(userId, Granularity.DAY, year, shiftMs);
}

export function summaryOf(
  userId: string,
  granularity: Granularity,
  range: Range,
  shiftMs = 0,
): GetSummaryRequest {
  return create(GetSummaryRequestSchema, {
    userId,
    from: timestampFromMs(range.from + shiftMs),
    to: timestampFromMs(range.to),
    granularity,
    timeZone: "Europe/Berlin",
  });
}

/**
 * Requests a summary. Does not decode the answer, because this takes longer than the service needs to send a memoized
 * one.
 *
 * @throws if the call fails, or the answer is too short for that many periods
 */
export async function getSummary(
  client: GrpcClient,
  request: GetSummaryRequest,
  leastPeriods: number = days,
): Promise<void> {
  const { status, message, body } = await client.unary(getSummaryPath, GetSummaryRequestSchema, request);
  if (status !== 0) throw new Error(`GetSummary ended with status ${status}: ${message}`);
  if (body.length < leastPeriods * leastPeriodBytes)
    throw new Error(`the answer has only ${body.length} bytes`);
}

/** The same with a client that takes less time. */
export async function getSummaryRaw(client: RawGrpcClient, request: GetSummaryRequest): Promise<void> {
  const bodyBytes = await client.call(frame(toBinary(GetSummaryRequestSchema, request)));
  if (bodyBytes < days * leastPeriodBytes) throw new Error(`the answer has only ${bodyBytes} bytes`);
}

/** The least size of a period: its tag and length, and the tag, length, tag and seconds of its timestamp. */
const leastPeriodBytes = 10;

/** A statement written by hand. It is correct only if all days begin at midnight and all periods have entries. */
export function plainStatementFor({ userId, from, to, granularity, timeZone }: GetSummaryRequest) {
  const unit = granularity === Granularity.HOUR ? "hour" : "day";
  return {
    name: `plain-summary-by-${unit}`,
    text: `
      SELECT
        date_trunc('${unit}', bucket, $4) AS period,
        sum(total_word_count)::double precision / sum(entry_count) AS average_words_learned,
        sum(total_word_count)::bigint AS total_word_count,
        sum(entry_count)::bigint AS entry_count
      FROM learning_log_aggregates
      WHERE user_id = $1
        AND bucket >= date_trunc('${unit}', to_timestamp($2), $4)
        AND bucket < date_trunc('${unit}', to_timestamp($3), $4) + interval '1 ${unit}'
      GROUP BY period
      ORDER BY period`,
    values: [userId, Number(from?.seconds), Number(to?.seconds), timeZone],
  };
}
