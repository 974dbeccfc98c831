import { beforeAll } from "vitest";
import type { TestDatabase } from "./test-database.ts";

/** The clock of a test database. */
export interface DatabaseClock {
  /** Microseconds since 1970, once the tests run. */
  now(): bigint;
}

/**
 * Call it at the top of a test file, after its database and before what connects to it: in the statements of those,
 * `now()` begins a moment after a full hour in UTC, and goes on slowly, so that the moment lasts as long as the tests. It
 * is a function of that name, which they find before PostgreSQL's own.
 *
 * @param secondsPast how many seconds after that hour it is when the tests begin
 * @param slowness how many seconds it takes to get a second on
 */
export function useClockPastTheHour(
  { pool }: TestDatabase,
  secondsPast: number,
  slowness: number,
): DatabaseClock {
  const hourMs = 3_600_000;
  const beganMs = Date.now();
  const startMs = beganMs - (beganMs % hourMs) + hourMs + secondsPast * 1000;
  beforeAll(async () => {
    await pool.query(
      `CREATE FUNCTION public.now() RETURNS timestamptz STABLE LANGUAGE SQL
      RETURN to_timestamp(${startMs} / 1000.0)
        + (pg_catalog.now() - to_timestamp(${beganMs} / 1000.0)) / ${slowness}`,
    );
    await pool.query(
      `DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
      END $$`,
    );
  });
  return {
    now: () => BigInt(Math.round(startMs + (Date.now() - beganMs) / slowness)) * 1000n,
  };
}
