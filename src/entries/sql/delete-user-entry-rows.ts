import { bucketOf } from "../../aggregates/bucket.ts";
import { allTime } from "../../changes/learner-changes.ts";
import type { LockRetry } from "../../database/lock-retry.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { query, retryOnContention, transaction } from "../../database/query.ts";
import { notifyDeletion } from "./notify-deletion.ts";

/** The maximum number of entries that one transaction deletes, so that no transaction takes long. */
const maxRows = 10_000;

/**
 * Deletes every entry that the learner has when the call begins, oldest first, subtracts them from the aggregates, and
 * notifies every instance. Uses as many transactions as necessary. The aggregates are correct after each of them.
 *
 * @returns the number of deleted entries
 */
export async function deleteUserEntryRows(
  pool: ConnectionPool,
  lockRetry: LockRetry,
  userId: string,
): Promise<number> {
  const [clock] = await query<Clock>(pool, {
    text: "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS micros",
  });
  let total = 0;
  for (;;) {
    const deleted = await lockRetry.run(() => retryOnContention(() => deleteOldest(pool, userId, clock)));
    total += deleted;
    // Fewer than maxRows can also mean that a concurrent transaction deleted some of the selected entries.
    if (deleted < maxRows && !(await hasEntries(pool, userId, clock))) return total;
  }
}

/** The database's clock when the call began, in microseconds since 1970. Entries recorded later are not deleted. */
type Clock = { readonly micros: string };

async function hasEntries(pool: ConnectionPool, userId: string, clock: Clock | undefined): Promise<boolean> {
  const rows = await query(pool, {
    name: "has-entries",
    text: `
      SELECT
      FROM learning_log
      WHERE user_id = $1 AND create_time <= timestamptz 'epoch' + $2::bigint * interval '1 microsecond'
      LIMIT 1`,
    values: [userId, clock?.micros],
  });
  return rows.length > 0;
}

async function deleteOldest(pool: ConnectionPool, userId: string, clock: Clock | undefined): Promise<number> {
  return transaction(pool, async (client) => {
    const { rows } = await client.query<{ deleted_count: number }>({
      name: "delete-user-entries",
      text: `
        WITH deleted AS (
          DELETE FROM learning_log
          WHERE request_id IN (
            SELECT request_id
            FROM learning_log
            WHERE user_id = $1 AND create_time <= timestamptz 'epoch' + $2::bigint * interval '1 microsecond'
            ORDER BY timestamp, request_id
            LIMIT $3
          )
          RETURNING word_count, ${bucketOf("timestamp")} AS bucket
        ),
        sums AS (
          SELECT bucket, sum(word_count) AS total_word_count, count(*) AS entry_count
          FROM deleted
          GROUP BY bucket
        ),
        reduced AS (
          UPDATE learning_log_aggregates AS aggregate
          SET
            total_word_count = aggregate.total_word_count - sums.total_word_count,
            entry_count = aggregate.entry_count - sums.entry_count
          FROM sums
          WHERE aggregate.user_id = $1 AND aggregate.bucket = sums.bucket
        )
        SELECT coalesce(sum(entry_count), 0)::integer AS deleted_count
        FROM sums`,
      values: [userId, clock?.micros, maxRows],
    });
    // A separate statement, because one statement cannot update and delete the same row.
    await client.query({
      name: "delete-empty-aggregates",
      text: "DELETE FROM learning_log_aggregates WHERE user_id = $1 AND entry_count = 0",
      values: [userId],
    });
    const deletedCount = rows[0]?.deleted_count ?? 0;
    // If a concurrent call deleted the entries, that call notifies the instances.
    if (deletedCount > 0) await notifyDeletion(client, { userId }, userId, allTime);
    return deletedCount;
  });
}
