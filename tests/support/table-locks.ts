import { vi } from "vitest";
import { connect } from "./connection.ts";
import type { TestDatabase } from "./test-database.ts";

/** A lock that statements of the service wait for. */
export interface TableLock extends AsyncDisposable {
  /**
   * Resolves once so many statements of the service wait for the lock.
   *
   * @param kind counts only these: a write that an earlier test left behind may still be on its way
   */
  waitForBlocked(statements: number, kind?: "reads" | "writes"): Promise<void>;
  /** Lets everybody pass. */
  release(): Promise<void>;
}

/** Holds up every write, as a slow database would, until released or disposed of; everybody can read. */
export function lockWrites(database: TestDatabase): Promise<TableLock> {
  return lock(database, "LOCK TABLE learning_log IN EXCLUSIVE MODE");
}

/** Holds up every statement of the service, reading or writing, until released or disposed of. */
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
