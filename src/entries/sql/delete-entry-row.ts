import { bucketOf } from "../../aggregates/bucket.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { retryOnContention, transaction } from "../../database/query.ts";
import type { StoredEntry } from "../entry.ts";
import { type EntryRow, entryColumns, storedEntry } from "./entry-row.ts";
import { notifyDeletion } from "./notify-deletion.ts";

/**
 * Deletes one entry, subtracts it from the aggregates, and notifies every instance, in one transaction.
 *
 * @returns the deleted entry, or undefined if there is none
 */
export async function deleteEntryRow(
  pool: ConnectionPool,
  requestId: string,
): Promise<StoredEntry | undefined> {
  const attempt = () =>
    transaction(pool, async (client) => {
      const { rows } = await client.query<EntryRow>({
        name: "delete-entry",
        text: `
          WITH deleted AS (
            DELETE FROM learning_log
            WHERE request_id = $1
            RETURNING *, ${bucketOf("timestamp")} AS bucket
          ),
          reduced AS (
            UPDATE learning_log_aggregates AS aggregate
            SET
              total_word_count = aggregate.total_word_count - deleted.word_count,
              entry_count = aggregate.entry_count - 1
            FROM deleted
            WHERE aggregate.user_id = deleted.user_id AND aggregate.bucket = deleted.bucket
          )
          SELECT ${entryColumns}
          FROM deleted`,
        values: [requestId],
      });
      const [row] = rows;
      if (row === undefined) return undefined;
      const deleted = storedEntry(row);
      // A separate statement, because one statement cannot update and delete the same row.
      await client.query({
        name: "delete-empty-aggregate",
        text: `
          DELETE FROM learning_log_aggregates
          WHERE user_id = $1
            AND bucket = ${bucketOf("timestamptz 'epoch' + $2::bigint * interval '1 microsecond'")}
            AND entry_count = 0`,
        values: [deleted.userId, deleted.timestamp],
      });
      await notifyDeletion(client, { requestId }, deleted.userId, {
        from: deleted.timestamp,
        to: deleted.timestamp,
      });
      return deleted;
    });
  return retryOnContention(attempt);
}
