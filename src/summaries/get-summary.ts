import { create } from "@bufbuild/protobuf";
import pg from "pg";
import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  type GetSummaryResponse,
  GetSummaryResponseSchema,
  Granularity,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { microsFromTimestamp } from "../database/timestamps.ts";
import { invalidArgument } from "../errors/invalid-argument.ts";
import { requireValidTimestamp } from "../errors/valid-timestamp.ts";
import { calendarUnits, estimatePeriods } from "./granularity.ts";
import type { PeriodRow, SummaryRange } from "./sql/period-row.ts";
import { summarizeCalendarPeriods } from "./sql/summarize-calendar-periods.ts";
import { summarizeHours } from "./sql/summarize-hours.ts";
import { databaseTimeZone } from "./time-zone.ts";

const maxPeriods = 10_000;

/**
 * Adds up one learner's entries per period.
 *
 * @param request valid by the rules of the schema
 * @param signal aborting it cancels the statement
 * @throws ConnectError INVALID_ARGUMENT if the time zone is unknown or the range too long
 */
export async function getSummary(
  pool: pg.Pool,
  request: GetSummaryRequest,
  signal: AbortSignal,
): Promise<GetSummaryResponse> {
  const range = rangeOf(request);
  const unit = calendarUnits.get(request.granularity);
  try {
    const rows = unit
      ? await summarizeCalendarPeriods(pool, unit, range, signal)
      : await summarizeHours(pool, range, signal);
    return create(GetSummaryResponseSchema, { periods: rows.map(periodSummary) });
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === invalidParameterValue) throw unknownTimeZone();
    throw error;
  }
}

// SQLSTATE; of all that these statements are given, only the time zone can be invalid to the database.
const invalidParameterValue = "22023";

function rangeOf(request: GetSummaryRequest): SummaryRange {
  const { from, to, granularity } = request;
  if (from === undefined || to === undefined) throw new Error("the schema requires from and to");
  requireValidTimestamp(GetSummaryRequestSchema, "from", from);
  requireValidTimestamp(GetSummaryRequestSchema, "to", to);
  const timeZone = databaseTimeZone(request.timeZone || "UTC");
  if (timeZone === undefined) throw unknownTimeZone();
  if (estimatePeriods(granularity, from.seconds, to.seconds) > maxPeriods) {
    throw invalidArgument(
      GetSummaryRequestSchema,
      "to",
      "summary.max_periods",
      `must be at most 10,000 periods of ${Granularity[granularity]} after from`,
    );
  }
  return {
    userId: request.userId,
    from: microsFromTimestamp(from),
    to: microsFromTimestamp(to),
    timeZone,
    omitEmptyPeriods: request.omitEmptyPeriods,
  };
}

function unknownTimeZone() {
  return invalidArgument(
    GetSummaryRequestSchema,
    "time_zone",
    "time_zone.iana",
    "must be an IANA time zone, such as Europe/Berlin",
  );
}

function periodSummary(row: PeriodRow) {
  return {
    period: { seconds: BigInt(row.period), nanos: 0 },
    averageWordsLearned: row.average_words_learned,
    totalWordCount: BigInt(row.total_word_count),
    entryCount: BigInt(row.entry_count),
  };
}
