import type pg from "pg";

/**
 * Gives a database a clock that a test can put forward and back, for whoever connects from then on: functions of the
 * names of PostgreSQL's own, found before them. It stands in for a clock that somebody sets, for a standby with another
 * one that takes over, and for time that goes by.
 */
export async function useShiftedClock(pool: pg.Pool): Promise<void> {
  const functions = ["now", "transaction_timestamp", "statement_timestamp", "clock_timestamp"].map(
    (name) => `
      CREATE FUNCTION public.${name}() RETURNS timestamptz VOLATILE LANGUAGE SQL AS
        'SELECT pg_catalog.${name}() + shift FROM public.test_clock'`,
  );
  await pool.query(`
    CREATE TABLE public.test_clock (shift interval NOT NULL);
    INSERT INTO public.test_clock VALUES ('0');
    ${functions.join(";\n")};
    DO $$ BEGIN
      EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
    END $$`);
}

/** Sets the clock, which then goes on. */
export async function setClock(pool: pg.Pool, time: Date): Promise<void> {
  await pool.query("UPDATE test_clock SET shift = $1::timestamptz - pg_catalog.clock_timestamp()", [time]);
}
