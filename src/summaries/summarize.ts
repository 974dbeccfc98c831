import type { ConnectionPool } from "../database/pool.ts";
import { longerThanPeriod } from "./calendar-rules.ts";
import type { Calendars } from "./calendars.ts";
import { estimatePeriods } from "./granularity.ts";
import { PeriodTotals, type Totals } from "./period-totals.ts";
import { addUp } from "./sql/add-up.ts";
import { findExtent } from "./sql/find-extent.ts";
import { isLarge } from "./summary-cost.ts";
import { maxPageSize, type SummaryRequest } from "./summary-request.ts";

/**
 * The connections for summaries. Large summaries use separate connections, so that small ones never wait long for a
 * free connection.
 */
export interface SummaryPools {
  readonly small: ConnectionPool;
  readonly large: ConnectionPool;
}

/** What summaries are computed with. */
export interface SummaryDependencies {
  readonly pools: SummaryPools;
  readonly calendars: Calendars;
}

/** A period of a summary. */
export interface SummarizedPeriod extends Totals {
  /** The first instant of the period, in seconds since 1970. */
  readonly begins: number;
  /** In words per period; undefined without a moving average. */
  readonly movingAverage: number | undefined;
}

/** The first periods of a range, up to the page size. */
export interface SummaryPage {
  readonly periods: readonly SummarizedPeriod[];
  /** The first instant of the next page, in seconds since 1970; undefined if there is no next page. */
  readonly next: bigint | undefined;
  /** A time at which the last period that the page depends on has ended, in seconds since 1970. */
  readonly end: bigint;
}

/** A range of time in seconds since 1970. */
interface Span {
  readonly from: number;
  readonly to: number;
}

/**
 * Reads a page of a summary from the database.
 *
 * @param signal aborting it cancels the statement
 * @throws ConnectError INVALID_ARGUMENT if the database server does not know the time zone; otherwise as `query` does
 */
export async function summarize(
  { pools, calendars }: SummaryDependencies,
  request: SummaryRequest,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const pool = isLarge(request) ? pools.large : pools.small;
  return isSparse(request)
    ? await summarizeSparse(pool, calendars, request, signal)
    : await summarizeSpan(pool, calendars, request, spanOf(request), signal);
}

/** Whether there may be far more periods without entries, which are omitted, than periods with entries. */
function isSparse({ granularity, range: { from, to, omitEmptyPeriods } }: SummaryRequest): boolean {
  return omitEmptyPeriods && estimatePeriods(granularity, from / 1_000_000n, to / 1_000_000n) > maxPageSize;
}

/**
 * Summarizes only the part of the range in which the learner has entries, so that a range without entries takes
 * only one short statement, however long it is.
 */
async function summarizeSparse(
  pool: ConnectionPool,
  calendars: Calendars,
  request: SummaryRequest,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const span = spanOf(request);
  const margin = longerThanPeriod(request.rules);
  const whole = { from: span.from - margin, to: span.to + margin };
  const extent = await findExtent(pool, request.range.userId, whole, signal);
  if (extent === undefined) return { periods: [], next: undefined, end: BigInt(whole.to) };
  const withEntries = {
    from: clamp(extent.from - margin, span),
    to: clamp(extent.to + margin, span),
  };
  const page = await summarizeSpan(pool, calendars, request, withEntries, signal);
  return { ...page, end: BigInt(whole.to) };
}

/** Summarizes the periods of the request from the one that contains `from` to the one that contains `to`. */
async function summarizeSpan(
  pool: ConnectionPool,
  calendars: Calendars,
  request: SummaryRequest,
  { from, to }: Span,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const { rules, range } = request;
  const { userId, isFirstPage, omitEmptyPeriods, movingAverageWindow, pageSize } = range;
  const margin = longerThanPeriod(rules);
  // No entry is older than 1970, so no moving average needs older periods.
  const reachesBackTo = Math.max(0, from - movingAverageWindow * rules.unit.longestSeconds);
  const pageEnd = omitEmptyPeriods ? to : Math.min(to, from + pageSize * rules.unit.longestSeconds);
  const known = { from: reachesBackTo - margin, to: pageEnd + margin };
  const calendar = await calendars.between(pool, rules, known, signal);

  // `to` can lie in the period before that of `from`: St. John's used to set its clock back across midnight. So the
  // first page begins with the earlier of the two. On a later page, all earlier periods were on the pages before.
  const [one, other] = [calendar.positionAt(from), calendar.positionAt(Math.min(to, known.to))];
  const first = isFirstPage ? Math.min(one, other) : one;
  const lastInRange = Math.max(one, other);
  const last = omitEmptyPeriods ? lastInRange : Math.min(lastInRange, first + pageSize - 1);
  const parts = calendar.partsOf(first - Math.max(0, movingAverageWindow - 1), last);
  const maxPeriods = omitEmptyPeriods
    ? pageSize + 1 + movingAverageWindow
    : last - first + 1 + movingAverageWindow;
  const totals = new PeriodTotals(calendar, await addUp(pool, userId, parts, maxPeriods, signal));

  const positions = omitEmptyPeriods
    ? totals.positions().filter((position) => position >= first && position <= last)
    : rangeOf(first, Math.min(lastInRange, first + pageSize));
  const page = positions.slice(0, pageSize);
  const next = positions[pageSize];
  const averages = movingAverageWindow > 0 ? totals.movingAverages(page, movingAverageWindow) : [];
  return {
    periods: page.map((position, index) => ({
      ...totals.of(position),
      begins: calendar.beginningOf(position),
      movingAverage: averages[index],
    })),
    next: next === undefined ? undefined : BigInt(calendar.beginningOf(next)),
    end: BigInt(parts.at(-1)?.ends ?? to),
  };
}

/** The range of a request. */
export function spanOf({ range: { from, to } }: SummaryRequest): Span {
  return { from: secondsOf(from), to: secondsOf(to) };
}

/** @param micros microseconds since 1970 */
function secondsOf(micros: bigint): number {
  return Number(micros / 1_000_000n);
}

function rangeOf(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function clamp(instant: number, { from, to }: Span): number {
  return Math.min(Math.max(instant, from), to);
}
