import { bucketNumberOf, bucketOf } from "../../aggregates/bucket.ts";
import { changesChannel, lateSeconds } from "../../changes/learner-changes.ts";
import { lookAtWatchesSeconds } from "../../changes/watch-notices.ts";
import type { KnownWatches } from "../../changes/watched-learners.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { EntryPayload, StoredEntry } from "../entry.ts";

/**
 * Records those entries whose request_id is not known yet, and adds them to the aggregates, in one statement: no
 * crash can part the two. Both tables are written in the order of their keys, so that writers cannot deadlock. Of several
 * entries with one request_id, the first is recorded.
 *
 * An entry is announced to every instance if it is late, if its learner is watched, or if it is too long ago that this
 * instance looked who is watched. This is decided once the transaction has its id, and by the clock at that moment:
 * `learner-changes.ts` and `watch-notices.ts` say why.
 *
 * As a rule all entries are new; then their request_ids need not come back. A notification can have 8000 bytes, so it
 * names 250 learners at most.
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
  /** Null if all of them were created. */
  readonly created_ids: string[] | null;
}

/**
 * Runs {@link insertEntriesStatement}.
 *
 * @param entries at least one
 * @param watches the learners whose entries must be announced even if they are not late
 * @returns the entries that were new, in the order in which they were given
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
      `${lookAtWatchesSeconds} seconds`,
    ],
  });
  return createdEntries(entries, rows[0]);
}

function createdEntries(entries: readonly EntryPayload[], row: InsertRow | undefined): StoredEntry[] {
  if (row === undefined) throw new Error("an aggregate without GROUP BY has a row");
  const createTime = BigInt(row.create_time_micros);
  const createdIds = row.created_ids && new Set(row.created_ids);
  return (
    entries
      // Of several with one request_id, the first.
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

/** An array of what needs no quotes, in the text form that PostgreSQL reads: node-postgres would look for them. */
function arrayLiteral(values: readonly (string | number | bigint)[]): string {
  return `{${values.join(",")}}`;
}
