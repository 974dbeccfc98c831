import type pg from "pg";

/**
 * Gives a database a clock that a test can set. Later connections use it: they find its functions before PostgreSQL's
 * own ones of the same names. It simulates a clock that is changed, a failover to a standby with a different clock, and
 * time that passes.
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

/** Sets the clock. It continues to run from this time. */
export async function setClock(pool: pg.Pool, time: Date): Promise<void> {
  await pool.query("UPDATE test_clock SET shift = $1::timestamptz - pg_catalog.clock_timestamp()", [time]);
}
