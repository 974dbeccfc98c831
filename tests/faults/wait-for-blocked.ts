import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";

/** Waits until another connection waits for a lock of this one. */
export async function waitForBlocked(connection: pg.Client): Promise<void> {
  for (const start = performance.now(); performance.now() - start < 20_000; ) {
    // Not pg_stat_activity, because within a transaction its content does not change after the first access.
    const { rowCount } = await connection.query(
      "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))",
    );
    if (rowCount !== 0) return;
    await sleep(5);
  }
  throw new Error("no connection waits for the lock");
}
