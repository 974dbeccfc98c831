import type { MessageInitShape } from "@bufbuild/protobuf";
import type { PeriodSummarySchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { ConnectionPool } from "../database/pool.ts";
import { isInvalidParameterValue } from "../database/sqlstate.ts";
import { calendarUnits } from "./granularity.ts";
import { summarizeCalendarPeriods } from "./sql/summarize-calendar-periods.ts";
import { summarizeHours } from "./sql/summarize-hours.ts";
import type { PeriodRow, SummaryPage } from "./sql/summary-page.ts";
import { isLarge } from "./summary-cost.ts";
import { type SummaryRequest, unknownTimeZone } from "./summary-request.ts";

/** The connections for summaries. Those for large ones are of their own, so that small ones always find a free one soon. */
export interface SummaryPools {
  readonly small: ConnectionPool;
  readonly large: ConnectionPool;
}

/**
 * Asks the database for a page of a summary.
 *
 * @param signal aborting it cancels the statement
 * @throws ConnectError INVALID_ARGUMENT if the database server does not know the time zone, and as `query` does
 */
export async function summarize(
  pools: SummaryPools,
  request: SummaryRequest,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const { granularity, range } = request;
  const pool = isLarge(request) ? pools.large : pools.small;
  const unit = calendarUnits.get(granularity);
  try {
    return unit
      ? await summarizeCalendarPeriods(pool, unit, range, signal)
      : await summarizeHours(pool, range, signal);
  } catch (error) {
    // Of all that these statements are given, only the time zone can be invalid to the database.
    if (isInvalidParameterValue(error)) throw unknownTimeZone();
    throw error;
  }
}

/** The period as callers get it. */
export function periodSummary(row: PeriodRow) {
  return {
    period: { seconds: BigInt(row.period), nanos: 0 },
    averageWordsLearned: row.average_words_learned,
    totalWordCount: BigInt(row.total_word_count),
    entryCount: BigInt(row.entry_count),
    ...(row.moving_average !== null && { movingAverage: row.moving_average }),
  } satisfies MessageInitShape<typeof PeriodSummarySchema>;
}
