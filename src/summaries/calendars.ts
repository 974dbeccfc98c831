import { LRUCache } from "lru-cache";
import { type Clock, processClock } from "../clock.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { isInvalidParameterValue } from "../database/sqlstate.ts";
import { Calendar } from "./calendar.ts";
import { type CalendarRules, longerThanPeriod } from "./calendar-rules.ts";
import { daySeconds } from "./granularity.ts";
import { hoursOf, joinRuns, type Run, splitRun, stretchesOf } from "./runs.ts";
import { SharedComputation } from "./shared-computation.ts";
import { findLabels } from "./sql/find-labels.ts";
import { unknownTimeZone } from "./summary-request.ts";

/** The most runs of periods that are kept. A year of days or hours usually has five, a year of months has ten. */
const maxRuns = 100_000;

/** The database is asked again after an hour, because its time zone rules may have been updated. */
const maxAgeMs = 3_600_000;

/** A range of years, both included. */
interface Years {
  readonly first: number;
  readonly last: number;
}

/**
 * The calendars of all time zones. Each year of a calendar, in UTC, is read from the database once and kept, because it
 * is the same for all learners.
 */
export class Calendars {
  readonly #years: LRUCache<string, readonly Run[]>;
  /** By pool, so that no call waits for a connection of another pool. */
  #reads = new WeakMap<ConnectionPool, Map<string, SharedComputation<Map<number, Run[]>>>>();

  constructor(clock: Clock = processClock) {
    this.#years = new LRUCache({
      maxSize: maxRuns,
      sizeCalculation: ({ length }) => length + 1,
      ttl: maxAgeMs,
      perf: clock,
    });
  }

  /** Discards everything, so that the database is asked again. */
  clear(): void {
    this.#years.clear();
    this.#reads = new WeakMap();
  }

  /**
   * Returns the periods that begin in the UTC years from that of `from` to that of `to`. So the period that contains
   * `from` may be missing: begin the range one period earlier.
   *
   * @param range in seconds since 1970
   * @param signal aborting it cancels the statement, unless other callers wait for the same one
   * @throws ConnectError INVALID_ARGUMENT if the database does not know the time zone; otherwise as `query` does
   */
  async between(
    pool: ConnectionPool,
    rules: CalendarRules,
    { from, to }: { readonly from: number; readonly to: number },
    signal: AbortSignal,
  ): Promise<Calendar> {
    const [first, last] = [yearOf(from), yearOf(to)];
    const years = yearsOf({ first, last });
    const known = new Map(years.map((year) => [year, this.#years.get(keyOf(rules, year))]));
    const missing = years.filter((year) => known.get(year) === undefined);
    const [firstMissing, lastMissing] = [missing[0], missing.at(-1)];
    if (firstMissing !== undefined && lastMissing !== undefined) {
      const read = this.#read(pool, rules, { first: firstMissing, last: lastMissing });
      for (const [year, runs] of await read.share(signal)) known.set(year, runs);
    }
    const runs = years.flatMap((year) => known.get(year) ?? []);
    if (areConsecutive(runs)) return new Calendar(runs);
    // The time zone rules of the database were updated between the statements that read these years.
    const readAgain = await this.#read(pool, rules, { first, last }).share(signal);
    return new Calendar([...readAgain.values()].flat());
  }

  /** Reads some years from the database, and keeps them. */
  #read(pool: ConnectionPool, rules: CalendarRules, years: Years): SharedComputation<Map<number, Run[]>> {
    const reads: Map<string, SharedComputation<Map<number, Run[]>>> = this.#reads.get(pool) ?? new Map();
    this.#reads.set(pool, reads);
    const key = `${keyOf(rules, years.first)} ${years.last}`;
    const underWay = reads.get(key);
    if (underWay !== undefined && !underWay.isAborted) return underWay;
    const read = new SharedComputation(async (signal) => {
      try {
        const byYear = await readYears(pool, rules, years, signal);
        const isCleared = this.#reads.get(pool) !== reads;
        if (!isCleared) for (const [year, runs] of byYear) this.#years.set(keyOf(rules, year), runs);
        return byYear;
      } finally {
        if (reads.get(key) === read) reads.delete(key);
      }
    });
    reads.set(key, read);
    return read;
  }
}

/** @returns the runs of each year, in chronological order: those of the periods that begin in the year */
async function readYears(
  pool: ConnectionPool,
  rules: CalendarRules,
  { first, last }: Years,
  signal: AbortSignal,
): Promise<Map<number, Run[]>> {
  // Longer than the years, so that the periods at both ends are complete.
  const margin = Math.ceil(longerThanPeriod(rules) / daySeconds) * daySeconds;
  const range = { from: startOf(first) - margin, to: startOf(last + 1) + margin };
  const changes = await findLabels(pool, rules, range, signal).catch((error: unknown) => {
    // The time zone is the only value in the statement that the database can reject as invalid.
    throw isInvalidParameterValue(error) ? unknownTimeZone() : error;
  });
  const runs = rules.unit.name === "hour" ? hoursOf(changes) : stretchesOf(changes);
  const byYear = Map.groupBy(runs.flatMap(splitByYear), ({ begins }) => yearOf(begins));
  return new Map(yearsOf({ first, last }).map((year) => [year, joinRuns(byYear.get(year) ?? [])]));
}

/** Splits a run into the stretches that begin in each year. */
function splitByYear(run: Run): Run[] {
  const nextYear = startOf(yearOf(run.begins) + 1);
  const [inYear, later] = splitRun(run, nextYear);
  return later === undefined ? [inYear] : [inYear, ...splitByYear(later)];
}

function areConsecutive(runs: readonly Run[]): boolean {
  return runs.every(({ begins }, index) => begins === (runs[index - 1]?.ends ?? begins));
}

function keyOf({ unit, timeZone, shiftMinutes }: CalendarRules, year: number): string {
  return `${unit.name} ${timeZone} ${shiftMinutes} ${year}`;
}

function yearsOf({ first, last }: Years): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function yearOf(seconds: number): number {
  return new Date(seconds * 1000).getUTCFullYear();
}

function startOf(year: number): number {
  return Date.UTC(year, 0) / 1000;
}
