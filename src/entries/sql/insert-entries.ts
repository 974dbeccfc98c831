import { bucketNumberOf, bucketOf } from "../../aggregates/bucket.ts";
import { changesChannel, lateSeconds } from "../../changes/learner-changes.ts";
import { watchLookupValidSeconds } from "../../changes/watch-publisher.ts";
import type { KnownWatches } from "../../changes/watched-learners.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { EntryPayload, StoredEntry } from "../entry.ts";

/**
 * Inserts the entries whose request_id is not known yet, and adds them to the aggregates. One statement does both, so a
 * crash cannot separate the two. Both tables are written in the order of their keys, so that concurrent writers cannot
 * deadlock. If several entries have the same request_id, the first one is inserted.
 *
 * An entry is announced to every instance if it is late, if its learner is watched, or if this instance's knowledge of
 * the watched learners is missing or older than `watchLookupValidSeconds`. The statement decides this once its
 * transaction has an id, by the database's clock at that time. `learner-changes.ts` and `watch-publisher.ts` explain
 * why.
 *
 * Usually all entries are new; then the statement does not return their request_ids. The payload of a notification must
 * be shorter than 8000 bytes, so each payload contains at most 250 learners.
 */
export const insertEntriesStatement = {
  name: "insert-entries",
  text: `
    WITH created AS (
      INSERT INTO learning_log (request_id, user_id, word_count, timestamp)
      SELECT request_id, user_id, word_count, timestamptz 'epoch' + micros * interval '1 microsecond'
      FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[])
        WITH ORDINALITY AS entry (request_id, user_id, word_count, micros, ordinality)
      ORDER BY request_id, ordinality
      ON CONFLICT (request_id) DO NOTHING
      RETURNING
        request_id,
        user_id,
        word_count,
        ${bucketOf("timestamp")} AS bucket,
        timestamp < clock_timestamp() - $5::interval
          OR user_id = ANY ($6::text[])
          OR (clock_timestamp() BETWEEN $8::timestamptz AND $8::timestamptz + $9::interval) IS NOT TRUE AS is_announced
    ),
    aggregated AS (
      INSERT INTO learning_log_aggregates AS aggregate (user_id, bucket, total_word_count, entry_count)
      SELECT user_id, bucket, sum(word_count), count(*)
      FROM created
      GROUP BY user_id, bucket
      ORDER BY user_id, bucket
      ON CONFLICT (user_id, bucket) DO UPDATE SET
        total_word_count = aggregate.total_word_count + excluded.total_word_count,
        entry_count = aggregate.entry_count + excluded.entry_count
    ),
    changes AS (
      SELECT
        concat_ws(
          ':',
          left(encode(sha256(convert_to(user_id, 'UTF8')), 'hex'), 8),
          ${bucketNumberOf("min(bucket)")},
          ${bucketNumberOf("max(bucket)")}
        ) AS change,
        (row_number() OVER () - 1) / 250 AS part
      FROM created
      WHERE is_announced
      GROUP BY user_id
    ),
    notified AS (
      SELECT pg_notify($7, string_agg(change, ','))
      FROM changes
      GROUP BY part
    )
    SELECT
      (extract(epoch FROM now()) * 1000000)::bigint AS create_time_micros,
      CASE WHEN count(*) < cardinality($1) THEN coalesce(array_agg(request_id), '{}') END AS created_ids,
      (SELECT count(*) FROM notified) AS notification_count
    FROM created`,
} as const;

interface InsertRow {
  readonly create_time_micros: string;
  /** Null if all entries were created. */
  readonly created_ids: string[] | null;
}

/**
 * Runs {@link insertEntriesStatement}.
 *
 * @param entries at least one
 * @param watches the watched learners, whose entries are announced even if they are not late
 * @returns the created entries, in the order of `entries`
 */
export async function insertEntries(
  pool: ConnectionPool,
  entries: readonly EntryPayload[],
  watches: KnownWatches,
): Promise<readonly StoredEntry[]> {
  const userIds = entries.map(({ userId }) => userId);
  const rows = await query<InsertRow>(pool, {
    ...insertEntriesStatement,
    values: [
      arrayLiteral(entries.map(({ requestId }) => requestId)),
      userIds,
      arrayLiteral(entries.map(({ wordCount }) => wordCount)),
      arrayLiteral(entries.map(({ timestamp }) => timestamp)),
      `${lateSeconds} seconds`,
      watches.userIds,
      changesChannel,
      watches.asOf?.toISOString(),
      `${watchLookupValidSeconds} seconds`,
    ],
  });
  return createdEntries(entries, rows[0]);
}

function createdEntries(entries: readonly EntryPayload[], row: InsertRow | undefined): StoredEntry[] {
  if (row === undefined) throw new Error("an aggregate query without GROUP BY returned no row");
  const createTime = BigInt(row.create_time_micros);
  const createdIds = row.created_ids && new Set(row.created_ids);
  return (
    entries
      // If several entries have the same request_id, only the first one was created.
      .filter(({ requestId }) => createdIds === null || createdIds.delete(requestId))
      .map(({ requestId, userId, wordCount, timestamp }) => ({
        requestId,
        userId,
        wordCount,
        timestamp,
        createTime,
      }))
  );
}

/**
 * Returns a PostgreSQL array literal of values that need no quotes. The conversion by node-postgres would search each
 * value for characters to quote.
 */
function arrayLiteral(values: readonly (string | number | bigint)[]): string {
  return `{${values.join(",")}}`;
}
