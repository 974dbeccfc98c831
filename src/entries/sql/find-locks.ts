import { bucketOf } from "../../aggregates/bucket.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { EntryPayload } from "../entry.ts";

/**
 * Returns whether a session holds, or waits for, a lock that blocks all writers of one of the two tables. A waiting
 * session counts, because it blocks the writers that come after it.
 */
export async function areTablesLocked(pool: ConnectionPool): Promise<boolean> {
  const rows = await query(pool, {
    name: "are-tables-locked",
    text: `
      SELECT
      FROM pg_locks
      WHERE locktype = 'relation'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND relation IN (to_regclass('learning_log'), to_regclass('learning_log_aggregates'))
        AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      LIMIT 1`,
  });
  return rows.length > 0;
}

/**
 * Returns the user_ids of learners for whom another transaction locks an aggregate row that these entries belong to.
 * Does not see rows that a transaction has inserted but not yet committed.
 */
export async function findLockedLearners(
  pool: ConnectionPool,
  entries: readonly EntryPayload[],
): Promise<ReadonlySet<string>> {
  const rows = await query<{ user_id: string }>(pool, {
    name: "find-locked-learners",
    text: `
      WITH wanted AS (
        SELECT DISTINCT
          user_id COLLATE "C" AS user_id,
          ${bucketOf("timestamptz 'epoch' + micros * interval '1 microsecond'")} AS bucket
        FROM unnest($1::text[], $2::bigint[]) AS entry (user_id, micros)
      ),
      present AS (
        SELECT user_id, bucket
        FROM learning_log_aggregates
        JOIN wanted USING (user_id, bucket)
      ),
      free AS (
        SELECT user_id, bucket
        FROM learning_log_aggregates
        WHERE (user_id, bucket) IN (SELECT user_id, bucket FROM wanted)
        FOR NO KEY UPDATE SKIP LOCKED
      )
      SELECT DISTINCT user_id
      FROM (SELECT user_id, bucket FROM present EXCEPT SELECT user_id, bucket FROM free) AS locked`,
    values: [entries.map(({ userId }) => userId), entries.map(({ timestamp }) => timestamp)],
  });
  return new Set(rows.map(({ user_id }) => user_id));
}
