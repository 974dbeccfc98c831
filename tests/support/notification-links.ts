import { vi } from "vitest";
import type { TestDatabase } from "./test-database.ts";

// Each instance of the service has two connections for notifications to its database: one that listens, and one that
// sends heartbeats.

const isLink = "application_name IN ('daily-aggregator notifications', 'daily-aggregator heartbeats')";

const cutPids: number[] = [];

/** Terminates the connections for notifications of all instances. They soon detect this, and connect again. */
export async function cutNotifications({ pool }: TestDatabase): Promise<void> {
  const { rows } = await pool.query<{ pid: number }>(
    `SELECT pid, pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE ${isLink} AND datname = current_database()`,
  );
  cutPids.push(...rows.map(({ pid }) => pid));
}

/** Resolves when all terminated connections have ended. A backend ends shortly after its termination is requested. */
export async function waitForCut({ pool }: TestDatabase): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rowCount } = await pool.query("SELECT FROM pg_stat_activity WHERE pid = ANY ($1)", [cutPids]);
      if (rowCount !== 0) throw new Error(`${rowCount} connections are still open`);
    },
    { timeout: 20_000, interval: 5 },
  );
}

/** The number of instances that have a connection which listens, or is about to listen. */
export async function countNotificationLinks({ pool }: TestDatabase): Promise<number> {
  const { rows } = await pool.query<{ links: number }>(
    `SELECT count(*)::integer AS links
    FROM pg_stat_activity
    WHERE application_name = 'daily-aggregator notifications' AND datname = current_database()`,
  );
  return rows[0]?.links ?? 0;
}

/** Resolves when this many instances listen. An instance that listens sends heartbeats. */
export async function waitForNotifications({ pool }: TestDatabase, instances: number): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rowCount } = await pool.query(
        `SELECT
        FROM pg_stat_activity
        WHERE application_name = 'daily-aggregator heartbeats'
          AND datname = current_database()
          AND query LIKE '%pg_notify%'
          AND pid <> ALL ($1)`,
        [cutPids],
      );
      if (rowCount !== instances) throw new Error(`${rowCount} instances listen`);
    },
    { timeout: 20_000, interval: 10 },
  );
}
