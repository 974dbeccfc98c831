import type pg from "pg";
import { afterAll, expect } from "vitest";
import { type Difference, findDifferences } from "../../src/aggregates/find-differences.ts";
import type { TestDatabase } from "./test-database.ts";

/** Recounts the log at one moment: every aggregate must be what it adds up to. */
export async function expectAggregatesMatchLog(pool: pg.Pool): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    const differences: Difference[] = [];
    for await (const difference of findDifferences(client)) differences.push(difference);
    await client.query("COMMIT");
    expect(differences, "where the aggregates differ from the log").toEqual([]);
  } finally {
    client.release(true);
  }
}

/** Call it at the top of a test file that writes, after its database: recounts the log after the last test. */
export function checkAggregatesAfterAll(database: TestDatabase): void {
  afterAll(() => expectAggregatesMatchLog(database.pool));
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
