import { randomUUID } from "node:crypto";
import type pg from "pg";
import { unknownWatches } from "../../src/changes/watched-learners.ts";
import type { ConnectionPool } from "../../src/database/pool.ts";
import { insertEntries } from "../../src/entries/sql/insert-entries.ts";

// Records entries in the database without calls to the service.

/** The time and the word count of an entry. */
export interface LearnerEntry {
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
  readonly wordCount: number;
}

/** Records the entries of a new learner with the service's own statement. @returns the user_id */
export async function recordLearner(pool: ConnectionPool, entries: readonly LearnerEntry[]): Promise<string> {
  const userId = randomUUID();
  await insertEntries(
    pool,
    entries.map((entry) => ({ ...entry, userId, requestId: randomUUID() })),
    unknownWatches,
  );
  return userId;
}

/** Entries of one word each, a minute apart, from 00:01 on 1 January 2024 in UTC. */
export function minutelyEntries(count: number): LearnerEntry[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: BigInt(Date.UTC(2024, 0, 1, 0, index + 1)) * 1000n,
    wordCount: 1,
  }));
}

/** Entries that are spread evenly over a range of time. */
interface ManyEntries {
  readonly userId: string;
  readonly count: number;
  /** The time of the first entry, in a format that PostgreSQL parses. */
  readonly from: string;
  /** The end of the range. All entries are earlier. */
  readonly to: string;
}

/** The most rows that one statement inserts. */
const statementRows = 1_000_000;

/**
 * Records more entries than {@link recordLearner} can. They are in the order of time, and have 0 to 499 words each. The
 * learner must have no other entries.
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
