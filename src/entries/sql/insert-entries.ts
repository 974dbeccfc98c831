import { changesChannel, lateSeconds } from "../../database/learner-changes.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { EntryPayload, StoredEntry } from "../entry.ts";

/** What an insertion did. */
export interface Insertion {
  /** The entries that were new, in the order in which they were given. */
  readonly created: readonly StoredEntry[];
  /** Those of them whose change the other instances are told of: they are late, or their learner is watched. */
  readonly told: readonly StoredEntry[];
}

/**
 * Records those entries whose request_id is not known yet, and adds them to the aggregates, in one statement: no
 * crash can part the two. Both tables are written in the order of their keys, so that writers cannot deadlock. Of several
 * entries with one request_id, the first is recorded.
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
        date_bin('15 minutes', timestamp, 'epoch') AS bucket,
        timestamp < now() - $5::interval OR user_id = ANY ($6::text[]) AS is_told
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
          (extract(epoch FROM min(bucket)) / 900)::bigint,
          (extract(epoch FROM max(bucket)) / 900)::bigint
        ) AS change,
        (row_number() OVER () - 1) / 250 AS part
      FROM created
      WHERE is_told
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

interface InsertionRow {
  readonly create_time_micros: string;
  /** Null if all of them were created. */
  readonly created_ids: string[] | null;
}

/**
 * Runs {@link insertEntriesStatement}.
 *
 * @param entries at least one
 * @param watchedIds the learners whose changes must be told of even if they are not late
 */
export async function insertEntries(
  pool: ConnectionPool,
  entries: readonly EntryPayload[],
  watchedIds: readonly string[],
): Promise<Insertion> {
  const userIds = entries.map(({ userId }) => userId);
  const rows = await query<InsertionRow>(pool, {
    ...insertEntriesStatement,
    values: [
      arrayLiteral(entries.map(({ requestId }) => requestId)),
      userIds,
      arrayLiteral(entries.map(({ wordCount }) => wordCount)),
      arrayLiteral(entries.map(({ timestamp }) => timestamp)),
      `${lateSeconds} seconds`,
      watchedIds,
      changesChannel,
    ],
  });
  return insertion(entries, new Set(watchedIds), rows[0]);
}

function insertion(
  entries: readonly EntryPayload[],
  watchedIds: ReadonlySet<string>,
  row: InsertionRow | undefined,
): Insertion {
  if (row === undefined) throw new Error("an aggregate without GROUP BY has a row");
  const createTime = BigInt(row.create_time_micros);
  const createdIds = row.created_ids && new Set(row.created_ids);
  const created = entries
    // Of several with one request_id, the first.
    .filter(({ requestId }) => createdIds === null || createdIds.delete(requestId))
    .map(({ requestId, userId, wordCount, timestamp }) => ({
      requestId,
      userId,
      wordCount,
      timestamp,
      createTime,
    }));
  // As the statement decides it: the time of creation is when its transaction began.
  const lateBefore = createTime - BigInt(lateSeconds) * 1_000_000n;
  const told = created.filter(({ userId, timestamp }) => timestamp < lateBefore || watchedIds.has(userId));
  return { created, told };
}

/** An array of what needs no quotes, in the text form that PostgreSQL reads: node-postgres would look for them. */
function arrayLiteral(values: readonly (string | number | bigint)[]): string {
  return `{${values.join(",")}}`;
}
