import type pg from "pg";
import { afterAll, expect } from "vitest";
import { findDifferences } from "../../src/aggregates/find-differences.ts";
import { withConnection } from "./connection.ts";
import type { TestDatabase } from "./test-database.ts";

/** Recounts the log at one moment: every aggregate must be what the log adds up to. */
export async function expectAggregatesMatchLog(connection: pg.ClientBase): Promise<void> {
  await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  const differences = await Array.fromAsync(findDifferences(connection));
  await connection.query("COMMIT");
  expect(differences.slice(0, 10), `${differences.length} aggregates differ from the log`).toEqual([]);
}

/** Call it at the top of a test file that writes, after its database: recounts the log after the last test. */
export function checkAggregatesAfterAll({ url }: TestDatabase): void {
  afterAll(() => withConnection(url, expectAggregatesMatchLog));
}

/** What the aggregates say of a learner, over all quarters of an hour; and how many of those there are. */
export async function aggregatesOf(
  pool: pg.Pool,
  userId: string,
): Promise<{ words: number; entries: number; rows: number }> {
  const { rows } = await pool.query(
    `SELECT
      coalesce(sum(total_word_count), 0)::integer AS words,
      coalesce(sum(entry_count), 0)::integer AS entries,
      count(*)::integer AS rows
    FROM learning_log_aggregates
    WHERE user_id = $1`,
    [userId],
  );
  return rows[0];
}
