import { randomUUID } from "node:crypto";
import { onTestFinished } from "vitest";
import { type Connection, connect } from "../support/connection.ts";
import type { TestDatabase } from "../support/test-database.ts";

/**
 * Begins to record an entry as the service records a current entry of a learner that nobody watches: without a
 * notification.
 *
 * @param timestamp in microseconds since 1970
 * @returns a connection whose transaction stays open until the caller commits it
 */
export async function beginSlowWrite(
  { url }: TestDatabase,
  userId: string,
  timestamp: bigint,
): Promise<Connection> {
  const connection = await connect(url);
  onTestFinished(() => connection.end());
  await connection.query("BEGIN");
  await connection.query(
    `WITH created AS (
      INSERT INTO learning_log (request_id, user_id, word_count, timestamp)
      VALUES ($1, $2, 1, timestamptz 'epoch' + $3 * interval '1 microsecond')
      RETURNING user_id, date_bin('15 minutes', timestamp, 'epoch') AS bucket
    )
    INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
    SELECT user_id, bucket, 1, 1 FROM created`,
    [randomUUID(), userId, timestamp],
  );
  return connection;
}
