import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";

/** A range of time, in seconds since 1970. */
export interface Extent {
  readonly from: number;
  readonly to: number;
}

/**
 * Finds the first and the last bucket of a learner within a range.
 *
 * @returns the first instants of the two buckets; undefined if the range has no bucket of the learner
 */
export async function findExtent(
  pool: ConnectionPool,
  userId: string,
  { from, to }: Extent,
  signal: AbortSignal,
): Promise<Extent | undefined> {
  const statement = {
    name: "find-extent",
    text: `
      SELECT
        extract(epoch FROM min(bucket))::float8 AS "from",
        extract(epoch FROM max(bucket))::float8 AS "to"
      FROM learning_log_aggregates
      WHERE user_id = $1 AND bucket >= to_timestamp($2) AND bucket < to_timestamp($3)`,
    values: [userId, from, to],
  };
  const [row] = await query<{ from: number | null; to: number | null }>(pool, statement, signal);
  return row && row.from !== null && row.to !== null ? { from: row.from, to: row.to } : undefined;
}
