import { Code } from "@connectrpc/connect";
import { LRUCache } from "lru-cache";
import { bucketMicros } from "../aggregates/bucket.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { isInvalidParameterValue } from "../database/sqlstate.ts";
import { calendarUnits } from "./granularity.ts";
import { retryOnCodes } from "./retry-on-codes.ts";
import { findPeriodStart } from "./sql/find-period-start.ts";
import { type SummaryRequest, unknownTimeZone } from "./summary-request.ts";

/** The most results of {@link findPeriodStart} that are kept. */
const maxQuarters = 10_000;

/**
 * Normalizes the ranges of requests, so that requests for the same periods can share a feed. Without it, charts of
 * "the last seven days" would have different ranges, because each range starts at the instant at which its chart was
 * opened.
 */
export class WatchedRanges {
  readonly #pool: ConnectionPool;
  readonly #draining: AbortSignal;
  /** The result of {@link findPeriodStart} for each quarter of an hour, by granularity and time zone. */
  readonly #starts = new LRUCache<string, Promise<bigint | undefined>>({ max: maxQuarters });

  /** @param draining aborts the retries while the database is busy */
  constructor(pool: ConnectionPool, draining: AbortSignal) {
    this.#pool = pool;
    this.#draining = draining;
  }

  /**
   * Returns a request for the same periods, with a normalized range. Requests for the same periods get equal ranges,
   * except near a clock change for which {@link findPeriodStart} returns undefined, or which puts the period of `to`
   * before that of `from`.
   */
  async normalize(request: SummaryRequest): Promise<SummaryRequest> {
    const { range } = request;
    const [from, to] = await Promise.all([
      this.#startOf(request, range.from),
      this.#startOf(request, range.to),
    ]);
    // Where the clock is set back, `to` may lie in the period before that of `from`.
    return from <= to ? { ...request, range: { ...range, from, to } } : request;
  }

  async #startOf({ granularity, range: { timeZone } }: SummaryRequest, instant: bigint): Promise<bigint> {
    const quarter = instant - (instant % bucketMicros);
    const key = `${granularity} ${timeZone} ${quarter}`;
    const unit = calendarUnits.get(granularity)?.name ?? "hour";
    let start = this.#starts.get(key);
    if (start === undefined) {
      const quarterOfPeriod = { unit, timeZone, quarter };
      start = retryOnCodes(
        [Code.ResourceExhausted],
        () => findPeriodStart(this.#pool, quarterOfPeriod),
        this.#draining,
      );
      this.#starts.set(key, start);
    }
    try {
      return (await start) ?? instant;
    } catch (error) {
      this.#starts.delete(key);
      if (isInvalidParameterValue(error)) throw unknownTimeZone();
      throw error;
    }
  }
}
