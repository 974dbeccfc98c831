import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { expect } from "vitest";
import { type Difference, findDifferences } from "../../src/aggregates/find-differences.ts";

/** The aggregates are what the log adds up to. */
export async function expectRecountClean(client: pg.ClientBase): Promise<void> {
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  const differences: Difference[] = [];
  for await (const difference of findDifferences(client)) differences.push(difference);
  await client.query("COMMIT");
  expect(differences.slice(0, 10), `${differences.length} aggregates differ from the log`).toEqual([]);
}

/** Resolves once another one waits for a lock of this connection. */
export async function waitForBlocked(connection: pg.Client): Promise<void> {
  for (const start = performance.now(); performance.now() - start < 20_000; ) {
    // Not pg_stat_activity, which stays as it was when a transaction first looked at it.
    const { rowCount } = await connection.query(
      "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))",
    );
    if (rowCount !== 0) return;
    await sleep(5);
  }
  throw new Error("nobody waits for the lock");
}
