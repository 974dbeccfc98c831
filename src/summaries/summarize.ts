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

/**
 * The connections for summaries. Large summaries use separate connections, so that small ones never wait long for a
 * free connection.
 */
export interface SummaryPools {
  readonly small: ConnectionPool;
  readonly large: ConnectionPool;
}

/**
 * Reads a page of a summary from the database.
 *
 * @param signal aborting it cancels the statement
 * @throws ConnectError INVALID_ARGUMENT if the database server does not know the time zone; otherwise as `query` does
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
    // The time zone is the only parameter of these statements that the database can reject as invalid.
    if (isInvalidParameterValue(error)) throw unknownTimeZone();
    throw error;
  }
}

/** Converts a row to the period that responses contain. */
export function periodSummary(row: PeriodRow) {
  return {
    period: { seconds: BigInt(row.period), nanos: 0 },
    averageWordsLearned: row.average_words_learned,
    totalWordCount: BigInt(row.total_word_count),
    entryCount: BigInt(row.entry_count),
    ...(row.moving_average !== null && { movingAverage: row.moving_average }),
  } satisfies MessageInitShape<typeof PeriodSummarySchema>;
}
