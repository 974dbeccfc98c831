import type pg from "pg";
import { bucketOf } from "./bucket.ts";

/** A bucket in which a learner's aggregate differs from the sums of the log. Null fields belong to a missing row. */
export interface Difference {
  readonly user_id: string;
  /** As in `2024-01-01T00:15:00.000Z`. The query formats it, because the default format depends on session settings. */
  readonly bucket: string;
  readonly log_total: string | null;
  readonly log_count: string | null;
  readonly aggregate_total: string | null;
  readonly aggregate_count: string | null;
}

/** A query for every difference between the log and the aggregates. */
export const differencesQuery = `
  SELECT
    user_id,
    bucket,
    log.total_word_count AS log_total,
    log.entry_count AS log_count,
    aggregate.total_word_count AS aggregate_total,
    aggregate.entry_count AS aggregate_count
  FROM (
    SELECT
      user_id,
      ${bucketOf("timestamp")} AS bucket,
      sum(word_count)::bigint AS total_word_count,
      count(*) AS entry_count
    FROM learning_log
    GROUP BY user_id, bucket
  ) AS log
  FULL JOIN learning_log_aggregates AS aggregate USING (user_id, bucket)
  WHERE (log.total_word_count, log.entry_count)
    IS DISTINCT FROM (aggregate.total_word_count, aggregate.entry_count)`;

const fetchSize = 1000;

/**
 * Yields every difference between the log and the aggregates. The database recounts the log, and sorts on disk what
 * does not fit into its memory. This process receives only the differences, a thousand at a time.
 *
 * @param client in a transaction; the recount uses its snapshot
 */
export async function* findDifferences(client: pg.ClientBase): AsyncIterable<Difference> {
  await client.query(`
    DECLARE difference NO SCROLL CURSOR FOR
    SELECT
      user_id,
      to_char(bucket AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS bucket,
      log_total,
      log_count,
      aggregate_total,
      aggregate_count
    FROM (${differencesQuery}) AS difference`);
  for (;;) {
    const { rows } = await client.query<Difference>(`FETCH ${fetchSize} FROM difference`);
    if (rows.length === 0) break;
    yield* rows;
  }
  await client.query("CLOSE difference");
}
