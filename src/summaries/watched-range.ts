import { Code } from "@connectrpc/connect";
import { LRUCache } from "lru-cache";
import { bucketMicros } from "../aggregates/bucket.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { isInvalidParameterValue } from "../database/sqlstate.ts";
import { calendarUnits } from "./granularity.ts";
import { retryOnCodes } from "./retry-on-codes.ts";
import { findPeriodStart } from "./sql/find-period-start.ts";
import { type SummaryRequest, unknownTimeZone } from "./summary-request.ts";

const maxQuarters = 10_000;

/**
 * Finds out which requests ask for the same periods. Charts of "the last seven days" begin at the instant at which they
 * are opened, each at its own.
 */
export class WatchedRanges {
  readonly #pool: ConnectionPool;
  readonly #draining: AbortSignal;
  /** The first instants of the periods that quarters of an hour belong to, in microseconds since 1970. */
  readonly #starts = new LRUCache<string, Promise<bigint | undefined>>({ max: maxQuarters });

  /** @param draining ends a wait for a database that is busy */
  constructor(pool: ConnectionPool, draining: AbortSignal) {
    this.#pool = pool;
    this.#draining = draining;
  }

  /** @returns a request for the same periods, whose range is the same for all such requests, but for odd ones */
  async samePeriods(request: SummaryRequest): Promise<SummaryRequest> {
    const { range } = request;
    const [from, to] = await Promise.all([
      this.#startOf(request, range.from),
      this.#startOf(request, range.to),
    ]);
    // Where the clock is put back, the period of `to` may be the one before that of `from`.
    return from <= to ? { ...request, range: { ...range, from, to } } : request;
  }

  async #startOf({ granularity, range: { timeZone } }: SummaryRequest, instant: bigint): Promise<bigint> {
    const quarter = instant - (instant % bucketMicros);
    const key = `${granularity} ${timeZone} ${quarter}`;
    const unit = calendarUnits.get(granularity)?.name ?? "hour";
    let start = this.#starts.get(key);
    if (start === undefined) {
      const asked = { unit, timeZone, quarter };
      start = retryOnCodes(
        [Code.ResourceExhausted],
        () => findPeriodStart(this.#pool, asked),
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
