import { beforeAll } from "vitest";
import type { TestDatabase } from "./test-database.ts";

/** The clock of a test database. It exists while the tests run. */
export interface DatabaseClock {
  /** The time in microseconds since 1970. */
  now(): bigint;
  /** Moves the clock forward, or back if the number is negative. */
  turn(seconds: number): Promise<void>;
}

/**
 * Gives a test database a clock that starts shortly after a full hour in UTC and can be set. Later connections find its
 * functions `now()` and `clock_timestamp()` before PostgreSQL's own ones. Call it at the top of a test file, after its
 * database and before everything that connects to it.
 *
 * @param secondsPast how many seconds after the full hour the clock starts
 */
export function useClockPastTheHour({ pool }: TestDatabase, secondsPast: number): DatabaseClock {
  const hourMs = 3_600_000;
  let aheadMs = hourMs - (Date.now() % hourMs) + secondsPast * 1000;
  beforeAll(async () => {
    await pool.query("CREATE TABLE public.clock AS SELECT $1::bigint AS ahead_ms", [aheadMs]);
    for (const [name, kind] of [
      ["now", "STABLE"],
      ["clock_timestamp", "VOLATILE"],
    ]) {
      await pool.query(
        `CREATE FUNCTION public.${name}() RETURNS timestamptz ${kind} LANGUAGE SQL
        RETURN pg_catalog.${name}() + (SELECT ahead_ms FROM public.clock) * interval '1 millisecond'`,
      );
    }
    await pool.query(
      `DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
      END $$`,
    );
  });
  return {
    now: () => BigInt(Date.now() + aheadMs) * 1000n,
    async turn(seconds) {
      aheadMs += seconds * 1000;
      await pool.query("UPDATE public.clock SET ahead_ms = $1", [aheadMs]);
    },
  };
}
