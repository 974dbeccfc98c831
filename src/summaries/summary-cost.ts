import { estimatePeriods, hoursPerPeriod } from "./granularity.ts";
import type { SummaryRequest } from "./summary-request.ts";

/**
 * What a small summary may cost. On one core of an AMD EPYC, such a summary takes 5 to 30 ms, so that a hundred of them
 * in line let the next one wait for a second or two.
 */
const maxSmallCost = 4_000;

/**
 * Whether a summary is so expensive that it must leave connections to others. What it costs is known from the request:
 * one for each period that the statement goes through, and one for each day of the learner's entries that it reads. So
 * five years of days are small, five months of hours, and eleven years of anything.
 */
export function isLarge({ granularity, range }: SummaryRequest): boolean {
  const { from, to, omitEmptyPeriods, movingAverageWindow, pageSize } = range;
  const asked = estimatePeriods(granularity, from / 1_000_000n, to / 1_000_000n);
  // Who wants no empty periods has the statement look for a page's worth of others as far as the range goes.
  const periods = (omitEmptyPeriods ? asked : Math.min(asked, pageSize)) + movingAverageWindow;
  const days = (periods * hoursPerPeriod[granularity]) / 24;
  return periods + days > maxSmallCost;
}
