import type pg from "pg";
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
 * Gives a database a clock that a test can set. Connections that are opened later find its functions before those of
 * PostgreSQL with the same names. The clock can simulate an operator who sets it, a standby with another clock that
 * takes over, and time that passes.
 */
export async function installClock(pool: pg.Pool): Promise<void> {
  await pool.query("CREATE TABLE public.clock AS SELECT 0::bigint AS ahead_ms");
  for (const [name, volatility] of [
    ["now", "STABLE"],
    ["transaction_timestamp", "STABLE"],
    ["statement_timestamp", "STABLE"],
    ["clock_timestamp", "VOLATILE"],
  ]) {
    await pool.query(
      `CREATE FUNCTION public.${name}() RETURNS timestamptz ${volatility} LANGUAGE SQL
      RETURN pg_catalog.${name}() + (SELECT ahead_ms FROM public.clock) * interval '1 millisecond'`,
    );
  }
  await pool.query(
    `DO $$ BEGIN
      EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
    END $$`,
  );
}

/** Sets the clock that {@link installClock} has created. It runs on from there. */
export async function setClock(pool: pg.Pool, time: Date): Promise<void> {
  await shiftClock(pool, time.getTime() - Date.now());
}

async function shiftClock(pool: pg.Pool, aheadMs: number): Promise<void> {
  await pool.query("UPDATE public.clock SET ahead_ms = $1", [aheadMs]);
}

/**
 * Gives a test database a clock that starts shortly after a full hour in UTC and can be set. Call it at the top of a
 * test file, after its database and before everything that connects to it.
 *
 * @param secondsPast how many seconds after the full hour the clock starts
 */
export function useClockPastTheHour({ pool }: TestDatabase, secondsPast: number): DatabaseClock {
  const hourMs = 3_600_000;
  let aheadMs = hourMs - (Date.now() % hourMs) + secondsPast * 1000;
  beforeAll(async () => {
    await installClock(pool);
    await shiftClock(pool, aheadMs);
  });
  return {
    now: () => BigInt(Date.now() + aheadMs) * 1000n,
    async turn(seconds) {
      aheadMs += seconds * 1000;
      await shiftClock(pool, aheadMs);
    },
  };
}
