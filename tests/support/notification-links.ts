import { vi } from "vitest";
import type { TestDatabase } from "./test-database.ts";

// The connections of the instances of the service over which a test database sends them notifications: each instance
// has one that listens, and one that sends heartbeats.

const isLink = "application_name IN ('daily-aggregator notifications', 'daily-aggregator heartbeats')";

const cutPids: number[] = [];

/** Breaks them; the instances notice soon, and make new ones. */
export async function cutNotifications({ pool }: TestDatabase): Promise<void> {
  const { rows } = await pool.query<{ pid: number }>(
    `SELECT pid, pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE ${isLink} AND datname = current_database()`,
  );
  cutPids.push(...rows.map(({ pid }) => pid));
}

/** Resolves once all that were cut are gone: a backend ends a moment after it was told to. */
export async function waitForCut({ pool }: TestDatabase): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rowCount } = await pool.query("SELECT FROM pg_stat_activity WHERE pid = ANY ($1)", [cutPids]);
      if (rowCount !== 0) throw new Error(`${rowCount} connections are still there`);
    },
    { timeout: 20_000, interval: 5 },
  );
}

/** How many instances have a connection that listens, or is about to. */
export async function countNotificationLinks({ pool }: TestDatabase): Promise<number> {
  const { rows } = await pool.query<{ links: number }>(
    `SELECT count(*)::integer AS links
    FROM pg_stat_activity
    WHERE application_name = 'daily-aggregator notifications' AND datname = current_database()`,
  );
  return rows[0]?.links ?? 0;
}

/** Resolves once so many instances listen: each then sends heartbeats, again and again. */
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
