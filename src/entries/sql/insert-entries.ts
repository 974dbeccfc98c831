import type pg from "pg";
import { query } from "../../database/query.ts";
import type { EntryPayload, StoredEntry } from "../entry.ts";

/**
 * Records those entries whose request_id is not known yet, and adds them to the aggregates, in one statement: no
 * crash can part the two. Both tables are written in the order of their keys, so that writers cannot deadlock.
 *
 * @param entries with different request_ids
 * @returns the ones that were new, in any order
 */
export async function insertEntries(pool: pg.Pool, entries: readonly EntryPayload[]): Promise<StoredEntry[]> {
  const rows = await query<{ request_id: string; create_time_micros: string }>(pool, {
    name: "insert-entries",
    text: `
      WITH created AS (
        INSERT INTO learning_log (request_id, user_id, word_count, timestamp)
        SELECT request_id, user_id, word_count, timestamptz 'epoch' + micros * interval '1 microsecond'
        FROM unnest($1::uuid[], $2::text[], $3::integer[], $4::bigint[])
          AS entry (request_id, user_id, word_count, micros)
        ORDER BY request_id
        ON CONFLICT (request_id) DO NOTHING
        RETURNING request_id, user_id, word_count, timestamp, create_time
      ),
      aggregated AS (
        INSERT INTO learning_log_aggregates AS aggregate (user_id, bucket, total_word_count, entry_count)
        SELECT user_id, date_bin('15 minutes', timestamp, 'epoch') AS bucket, sum(word_count), count(*)
        FROM created
        GROUP BY user_id, bucket
        ORDER BY user_id, bucket
        ON CONFLICT (user_id, bucket) DO UPDATE SET
          total_word_count = aggregate.total_word_count + excluded.total_word_count,
          entry_count = aggregate.entry_count + excluded.entry_count
      )
      SELECT request_id, (extract(epoch FROM create_time) * 1000000)::bigint AS create_time_micros
      FROM created`,
    values: [
      entries.map(({ requestId }) => requestId),
      entries.map(({ userId }) => userId),
      entries.map(({ wordCount }) => wordCount),
      entries.map(({ timestamp }) => timestamp),
    ],
  });
  const createTimes = new Map(rows.map((row) => [row.request_id, BigInt(row.create_time_micros)]));
  return entries.flatMap((entry) => {
    const createTime = createTimes.get(entry.requestId);
    if (createTime === undefined) return [];
    const { requestId, userId, wordCount, timestamp } = entry;
    return { requestId, userId, wordCount, timestamp, createTime };
  });
}
