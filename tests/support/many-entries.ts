import type pg from "pg";

/** Entries that are spread evenly over a time. */
export interface ManyEntries {
  readonly userId: string;
  readonly count: number;
  /** The time of the first one, as PostgreSQL reads it. */
  readonly from: string;
  /** No entry is as late as this. */
  readonly to: string;
}

/** How many rows one statement inserts. */
const statementRows = 1_000_000;

/**
 * Records more entries than calls could: without them, into the log and into the aggregates. The learner must have no
 * other ones.
 */
export async function recordManyEntries(
  client: pg.ClientBase | pg.Pool,
  { userId, count, from, to }: ManyEntries,
): Promise<void> {
  for (let start = 0; start < count; start += statementRows) {
    await client.query(
      `INSERT INTO learning_log (request_id, user_id, word_count, timestamp)
      SELECT
        (left(md5($1), 16) || lpad(to_hex(number), 16, '0'))::uuid,
        $1,
        number % 500,
        $4::timestamptz + number * (($5::timestamptz - $4::timestamptz) / $6::integer)
      FROM generate_series($2::integer, $3::integer - 1) AS number`,
      [userId, start, Math.min(start + statementRows, count), from, to, count],
    );
  }
  await client.query(
    `INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
    SELECT user_id, date_bin('15 minutes', timestamp, 'epoch') AS bucket, sum(word_count), count(*)
    FROM learning_log
    WHERE user_id = $1
    GROUP BY user_id, bucket`,
    [userId],
  );
}
