import type pg from "pg";
import { differencesQuery } from "./find-differences.ts";

/** Blocks writers, but not readers, until the transaction ends. */
export async function lockAgainstWriters(client: pg.ClientBase): Promise<void> {
  await client.query("LOCK TABLE learning_log, learning_log_aggregates IN SHARE ROW EXCLUSIVE MODE");
}

/**
 * Replaces every aggregate that differs from the sums of the log.
 *
 * @param client in a transaction that holds the lock of {@link lockAgainstWriters}
 * @returns the number of rows that were set to the sums of the log, and the number of rows that were deleted
 */
export async function repairAggregates(client: pg.ClientBase): Promise<{ set: number; deleted: number }> {
  await client.query(`CREATE TEMPORARY TABLE difference ON COMMIT DROP AS ${differencesQuery}`);
  const { rowCount: set } = await client.query(`
    INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
    SELECT user_id, bucket, log_total, log_count
    FROM difference
    WHERE log_count IS NOT NULL
    ON CONFLICT (user_id, bucket) DO UPDATE SET
      total_word_count = excluded.total_word_count,
      entry_count = excluded.entry_count`);
  const { rowCount: deleted } = await client.query(`
    DELETE FROM learning_log_aggregates AS aggregate
    USING difference
    WHERE aggregate.user_id = difference.user_id
      AND aggregate.bucket = difference.bucket
      AND difference.log_count IS NULL`);
  return { set: set ?? 0, deleted: deleted ?? 0 };
}
