import { estimatePeriods, hoursPerPeriod } from "./granularity.ts";
import type { SummaryRequest } from "./summary-request.ts";

/**
 * The highest cost of a small summary. On one core of an AMD EPYC, a summary of this cost takes 5 to 30 ms, so a
 * queue of a hundred of them delays the next one by a second or two.
 */
const maxSmallCost = 4_000;

/**
 * Whether a summary is so expensive that it must leave connections free for others. The cost follows from the
 * request: one for each period, and one for each day of the learner's entries that are read. So, as one page, five years of days and five months of hours are small, and eleven years of any granularity
 * are large.
 */
export function isLarge({ granularity, range }: SummaryRequest): boolean {
  const { from, to, omitEmptyPeriods, movingAverageWindow, pageSize } = range;
  const inRange = estimatePeriods(granularity, from / 1_000_000n, to / 1_000_000n);
  // If empty periods are omitted, the whole range may have to be read to fill one page.
  const periods = (omitEmptyPeriods ? inRange : Math.min(inRange, pageSize)) + movingAverageWindow;
  const days = (periods * hoursPerPeriod[granularity]) / 24;
  return periods + days > maxSmallCost;
}
