import type pg from "pg";
import { afterAll, expect } from "vitest";
import { findDifferences } from "../../src/aggregates/find-differences.ts";
import { withConnection } from "./connection.ts";
import type { TestDatabase } from "./test-database.ts";

/** Recounts the log in one snapshot. Checks that the aggregates equal its sums and counts. */
export async function expectAggregatesMatchLog(connection: pg.ClientBase): Promise<void> {
  await connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  const differences = await Array.fromAsync(findDifferences(connection));
  await connection.query("COMMIT");
  expect(differences.slice(0, 10), `${differences.length} aggregates differ from the log`).toEqual([]);
}

/** Recounts the log after the last test. Call it at the top of a test file that writes, after its database. */
export function checkAggregatesAfterAll({ url }: TestDatabase): void {
  afterAll(() => withConnection(url, expectAggregatesMatchLog));
}

/** The sums of a learner's aggregates over all buckets, and the number of these aggregates. */
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
