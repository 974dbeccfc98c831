import type pg from "pg";
import { bucketSeconds } from "../../aggregates/bucket.ts";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { Run } from "../runs.ts";

/** The sums of one learner's entries in one stretch. */
export interface Sums {
  /** An instant of the stretch, in seconds since 1970. */
  readonly instant: number;
  readonly totalWordCount: bigint;
  readonly entryCount: bigint;
}

/** Consecutive stretches of the same length. */
type Stretches = Pick<Run, "begins" | "ends" | "length">;

/** A range of time in seconds since 1970; `ends` is not included. */
type Range = Pick<Run, "begins" | "ends">;

interface Row {
  readonly instants: string | null;
  readonly total_word_counts: string | null;
  readonly entry_counts: string | null;
}

/**
 * Adds up one learner's entries per stretch of a calendar.
 *
 * @param parts the stretches
 * @param maxPeriods how many periods with entries are needed at most; a few more may be returned
 * @returns the sums of stretches with entries, in chronological order. A stretch that begins or ends within a bucket can
 * have several.
 */
export async function addUp(
  pool: ConnectionPool,
  userId: string,
  parts: readonly Stretches[],
  maxPeriods: number,
  signal: AbortSignal,
): Promise<Sums[]> {
  const [row] = await query<Row>(pool, addUpStatement(userId, parts, maxPeriods), signal);
  const instants = itemsIn(row?.instants);
  const totals = itemsIn(row?.total_word_counts);
  const counts = itemsIn(row?.entry_counts);
  return instants.map((instant, index) => ({
    instant: Number(instant),
    totalWordCount: BigInt(totals[index] ?? 0),
    entryCount: BigInt(counts[index] ?? 0),
  }));
}

/**
 * The statement that {@link addUp} runs. For each part, it reads a range of the primary key, and DATE_BIN finds the
 * stretch of each bucket. Its result is one row with three lists, because node-postgres is slower with many rows.
 */
export function addUpStatement(
  userId: string,
  parts: readonly Stretches[],
  maxPeriods: number,
): pg.QueryConfig {
  const { aggregated, logged } = splitAtBuckets(parts);
  const values = [
    userId,
    maxPeriods + aggregated.length + logged.length,
    aggregated.map(({ begins }) => begins),
    aggregated.map(({ ends }) => ends),
    aggregated.map(({ length }) => length),
  ];
  if (logged.length === 0) return { name: "add-up", text: sumsOf(bucketsOfParts), values };
  return {
    // A separate statement, because the log would make the usual one slower by a fifth.
    name: "add-up-with-log",
    text: sumsOf(`${bucketsOfParts} UNION ALL ${entriesOfRanges}`),
    values: [...values, logged.map(({ begins }) => begins), logged.map(({ ends }) => ends)],
  };
}

function sumsOf(rows: string): string {
  return `
    SELECT
      string_agg(extract(epoch FROM instant)::bigint::text, ',' ORDER BY instant) AS instants,
      string_agg(total_word_count::text, ',' ORDER BY instant) AS total_word_counts,
      string_agg(entry_count::text, ',' ORDER BY instant) AS entry_counts
    FROM (
      SELECT instant, sum(total_word_count) AS total_word_count, sum(entry_count) AS entry_count
      FROM (${rows}) AS counted
      GROUP BY instant
      ORDER BY instant
      LIMIT $2
    ) AS sums`;
}

// OFFSET 0 keeps the subqueries separate, so that PostgreSQL looks up each part in the index.
const bucketsOfParts = `
      SELECT date_bin(length, bucket, begins) AS instant, total_word_count, entry_count
      FROM (
        SELECT to_timestamp(begins) AS begins, to_timestamp(ends) AS ends, make_interval(secs => length) AS length
        FROM unnest($3::float8[], $4::float8[], $5::float8[]) AS given (begins, ends, length)
        OFFSET 0
      ) AS parts
      CROSS JOIN LATERAL (
        SELECT bucket, total_word_count, entry_count
        FROM learning_log_aggregates
        WHERE user_id = $1 AND bucket >= begins AND bucket < ends
        OFFSET 0
      ) AS buckets`;

const entriesOfRanges = `
      SELECT begins, word_count, 1
      FROM (
        SELECT to_timestamp(begins) AS begins, to_timestamp(ends) AS ends
        FROM unnest($6::float8[], $7::float8[]) AS given (begins, ends)
        OFFSET 0
      ) AS ranges
      CROSS JOIN LATERAL (
        SELECT word_count
        FROM learning_log
        WHERE user_id = $1 AND timestamp >= begins AND timestamp < ends
        OFFSET 0
      ) AS entries`;

/**
 * Splits parts whose stretches begin or end within a bucket (Monrovia until 1972): the buckets within each stretch are
 * read from the aggregates, and the rest from the log.
 */
function splitAtBuckets(parts: readonly Stretches[]): { aggregated: Stretches[]; logged: Range[] } {
  const aggregated: Stretches[] = [];
  const logged: Range[] = [];
  for (const part of parts) {
    if (part.begins % bucketSeconds === 0 && part.length % bucketSeconds === 0) {
      aggregated.push(part);
      continue;
    }
    for (let begins = part.begins; begins < part.ends; begins += part.length) {
      const ends = begins + part.length;
      const firstBucket = Math.ceil(begins / bucketSeconds) * bucketSeconds;
      const lastEnd = Math.floor(ends / bucketSeconds) * bucketSeconds;
      if (firstBucket >= lastEnd) {
        logged.push({ begins, ends });
        continue;
      }
      aggregated.push({ begins: firstBucket, ends: lastEnd, length: lastEnd - firstBucket });
      if (begins < firstBucket) logged.push({ begins, ends: firstBucket });
      if (lastEnd < ends) logged.push({ begins: lastEnd, ends });
    }
  }
  return { aggregated, logged };
}

function itemsIn(list: string | null | undefined): string[] {
  return list ? list.split(",") : [];
}
