import { vi } from "vitest";
import { connect } from "./connection.ts";
import type { TestDatabase } from "./test-database.ts";

/** A lock that statements of the service wait for. */
export interface TableLock extends AsyncDisposable {
  /**
   * Resolves when this many statements of the service wait for the lock.
   *
   * @param kind the kind of statements to count, because a write of an earlier test may still be in flight
   */
  waitForBlocked(statements: number, kind?: "reads" | "writes"): Promise<void>;
  /** Releases the lock. */
  release(): Promise<void>;
}

/** Blocks every write, as a slow database would, until the lock is released or disposed of. Reads are not blocked. */
export function lockWrites(database: TestDatabase): Promise<TableLock> {
  return lock(database, "LOCK TABLE learning_log IN EXCLUSIVE MODE");
}

/** Blocks all reads and writes of the service until the lock is released or disposed of. */
export function lockTables(database: TestDatabase): Promise<TableLock> {
  return lock(database, "LOCK TABLE learning_log, learning_log_aggregates IN ACCESS EXCLUSIVE MODE");
}

async function lock({ url, pool }: TestDatabase, statement: string): Promise<TableLock> {
  const client = await connect(url);
  await client.query("BEGIN");
  await client.query(statement);
  let released: Promise<void> | undefined;
  const release = () => {
    released ??= client.end();
    return released;
  };
  return {
    async waitForBlocked(statements, kind) {
      await vi.waitFor(
        async () => {
          const { rows } = await pool.query(
            `SELECT count(*)::integer AS blocked
            FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'relation'
              AND ($1::boolean IS NULL OR (query LIKE '%INSERT INTO%') = $1)`,
            [kind && kind === "writes"],
          );
          if (rows[0].blocked !== statements) {
            throw new Error(`${rows[0].blocked} statements wait for the lock`);
          }
        },
        { timeout: 20_000, interval: 10 },
      );
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}
