import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type pg from "pg";
import { type GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";

/** Asks for what takes long after {@link makeSummariesSlow}: days of 1999. Each learner's is a question of its own. */
export function slowSummaryRequest(userId: string): MessageInitShape<typeof GetSummaryRequestSchema> {
  return {
    userId,
    granularity: Granularity.DAY,
    from: { seconds: 926_000_000n },
    to: { seconds: 927_000_000n },
  };
}

/**
 * Makes summaries of 1999 take the database so long, for whoever connects from then on: functions of the name of
 * PostgreSQL's own, found before it, sleep before they answer.
 *
 * @param role the only one whose summaries are slow; by default, everybody's are
 */
export async function makeSummariesSlow(pool: pg.Pool, seconds: number, role?: string): Promise<void> {
  await pool.query(`
    CREATE FUNCTION public.date_trunc(unit text, source timestamp) RETURNS timestamp
    STABLE LANGUAGE plpgsql AS $$
    BEGIN
      IF source >= '1999-01-01' AND source < '2000-01-01' THEN
        PERFORM pg_sleep(${seconds});
      END IF;
      RETURN pg_catalog.date_trunc(unit, source);
    END $$;
    CREATE FUNCTION public.date_trunc(unit text, source timestamptz, zone text) RETURNS timestamptz
    STABLE LANGUAGE SQL
    RETURN public.date_trunc(unit, source AT TIME ZONE zone) AT TIME ZONE zone`);
  const whose = role === undefined ? "DATABASE %1$I" : `ROLE ${role} IN DATABASE %1$I`;
  await pool.query(`
    DO $$ BEGIN
      EXECUTE format('ALTER ${whose} SET search_path = public, pg_catalog', current_database());
    END $$`);
}

/** How many statements sleep. */
export async function countSleepers(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ sleepers: number }>(`
    SELECT count(*)::integer AS sleepers
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event = 'PgSleep'`);
  return rows[0]?.sleepers ?? 0;
}

/** Waits until at least one statement sleeps, for so long at most. */
export async function waitForSleeper(pool: pg.Pool, timeoutMs = 10_000): Promise<void> {
  for (const start = performance.now(); (await countSleepers(pool)) === 0; await sleep(20)) {
    if (performance.now() - start > timeoutMs) throw new Error("no summary is computed");
  }
}
