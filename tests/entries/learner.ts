import { randomUUID } from "node:crypto";
import type pg from "pg";

/** Records so many entries of a new learner, one word in each, a minute apart; returns the user_id. */
export async function recordLearner(pool: pg.Pool, count: number): Promise<string> {
  const userId = randomUUID();
  await pool.query(
    `WITH created AS (
      INSERT INTO learning_log (request_id, user_id, word_count, timestamp)
      SELECT gen_random_uuid(), $1, 1, timestamptz '2024-01-01T00:00:00Z' + minute * interval '1 minute'
      FROM generate_series(1, $2::integer) AS minute
      RETURNING *
    )
    INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
    SELECT user_id, date_bin('15 minutes', timestamp, 'epoch') AS bucket, sum(word_count), count(*)
    FROM created
    GROUP BY user_id, bucket`,
    [userId, count],
  );
  return userId;
}

/** How many entries the log has of a learner. */
export async function countEntries(pool: pg.Pool, userId: string): Promise<number | null> {
  const { rowCount } = await pool.query("SELECT FROM learning_log WHERE user_id = $1", [userId]);
  return rowCount;
}
