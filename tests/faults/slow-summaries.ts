import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type pg from "pg";
import { type GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";

/** A request that is slow after {@link makeSummariesSlow}: days of May 1999. Learners are summarized separately. */
export function slowSummaryRequest(userId: string): MessageInitShape<typeof GetSummaryRequestSchema> {
  return {
    userId,
    granularity: Granularity.DAY,
    from: { seconds: 926_000_000n },
    to: { seconds: 927_000_000n },
  };
}

/**
 * Makes the statements that add up periods of May 1999 slow. Later connections find a function named to_timestamp before
 * PostgreSQL's own one. It sleeps for the given number of seconds before it returns an instant of this month. Reading
 * the calendar of 1999 stays fast, because learners share it.
 *
 * @param role the only role whose summaries are slow; by default, those of every role are
 */
export async function makeSummariesSlow(pool: pg.Pool, seconds: number, role?: string): Promise<void> {
  await pool.query(`
    CREATE FUNCTION public.to_timestamp(seconds double precision) RETURNS timestamptz
    STABLE LANGUAGE plpgsql AS $$
    BEGIN
      IF seconds >= 925516800 AND seconds < 928195200 THEN
        PERFORM pg_sleep(${seconds});
      END IF;
      RETURN pg_catalog.to_timestamp(seconds);
    END $$`);
  const whose = role === undefined ? "DATABASE %1$I" : `ROLE ${role} IN DATABASE %1$I`;
  await pool.query(`
    DO $$ BEGIN
      EXECUTE format('ALTER ${whose} SET search_path = public, pg_catalog', current_database());
    END $$`);
}

/** The number of statements that sleep. */
export async function countSleepers(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ sleepers: number }>(`
    SELECT count(*)::integer AS sleepers
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'`);
  return rows[0]?.sleepers ?? 0;
}

/** Waits until at least one statement sleeps. @throws if none does within the timeout */
export async function waitForSleeper(pool: pg.Pool, timeoutMs = 10_000): Promise<void> {
  for (const start = performance.now(); (await countSleepers(pool)) === 0; await sleep(20)) {
    if (performance.now() - start > timeoutMs) throw new Error("no summary is computed");
  }
}
