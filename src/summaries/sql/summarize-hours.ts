import type pg from "pg";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import { type SummaryPage, type SummaryRange, type SummaryRow, summaryPage } from "./summary-page.ts";

/**
 * Adds up one learner's entries per hour of the local clock.
 *
 * The `hour` of an instant is the result of DATE_TRUNC for it. A period consists of all instants with the same
 * `hour`, so an hour that the clock shows twice is two periods. A period is named by its first instant. Usually the
 * clock is `even`: it changes by whole hours only, and each hour starts at the start of a bucket. Then all hours, and
 * the hours of all buckets, are found by counting whole hours from the first one.
 *
 * If the clock is not even, more work is needed:
 *
 * - The hour of each bucket is computed with DATE_TRUNC, and the first instant of each hour is searched for.
 * - Where the clock skips part of an hour (Lord Howe), the result of DATE_TRUNC can lie before the change, in the
 *   hour before. Then the first instant is searched for after that result, in steps of half a minute. These steps
 *   find it, because since 1970 every clock has changed at a multiple of half a minute (Monrovia, 1972, 00:44:30Z).
 * - Such a change also makes hours shorter. So the hours of the range are searched for in steps that are short enough
 *   to find every one of them.
 * - A bucket can have parts of two hours: its first and last instant have different hours. Then its `only_hour` is
 *   NULL, and its entries are read from the log. PostgreSQL expects few rows in which it is NULL, so PostgreSQL looks
 *   up the entries of each such bucket by index.
 *
 * The statement starts as many hours before the page as the moving average of the first one needs, and stops at the
 * first hour of the next page. If empty hours are omitted, it processes only the hours from the learner's first
 * bucket in the range to the last one, plus one on either side, because the clock may not be even. So a range
 * without entries of the learner costs nothing, however long it is.
 */
export async function summarizeHours(
  pool: ConnectionPool,
  range: SummaryRange,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const rows = await query<SummaryRow>(pool, hoursStatement(range), signal);
  return summaryPage(rows, range.pageSize);
}

function hoursStatement(range: SummaryRange): pg.QueryConfig {
  return {
    name: "summarize-hours",
    text: `
      WITH asked AS (
        SELECT
          date_trunc('hour', timestamptz 'epoch' + $2::interval, $4) AS first_hour,
          date_trunc('hour', timestamptz 'epoch' + $3::interval, $4) AS last_hour
      ),
      last_asked AS (
        SELECT CASE WHEN $5 THEN last_hour ELSE least(last_hour, first_hour + $7::integer * interval '1 hour') END AS hour
        FROM asked
      ),
      filled AS (
        SELECT
          date_trunc('hour', min(bucket), $4) - interval '1 hour' AS first_hour,
          coalesce(date_trunc('hour', max(bucket), $4) + interval '1 hour', '-infinity') AS last_hour
        FROM learning_log_aggregates
        WHERE $5
          AND user_id = $1
          AND bucket >= (SELECT first_hour - interval '1 hour' FROM asked)
          AND bucket < (SELECT last_hour + interval '2 hours' FROM asked)
      ),
      range AS (
        SELECT
          earliest_hour,
          latest_hour,
          extract(epoch FROM last_asked.hour + interval '1 hour')::bigint AS range_end
        FROM asked
        CROSS JOIN last_asked
        CROSS JOIN filled
        CROSS JOIN LATERAL (
          SELECT
            CASE WHEN $5 THEN greatest(asked.first_hour, filled.first_hour) ELSE asked.first_hour END
              - $6::integer * interval '1 hour' AS earliest_hour,
            CASE WHEN $5 THEN least(last_asked.hour, filled.last_hour) ELSE last_asked.hour END AS latest_hour
        ) AS hours
      ),
      clock AS (
        SELECT
          date_bin('15 minutes', earliest_hour, 'epoch') = earliest_hour
            AND bool_and(date_trunc('hour', day, $4) = day) AS is_even
        FROM range
        CROSS JOIN generate_series(
          earliest_hour - interval '24 hours', latest_hour + interval '48 hours', interval '24 hours'
        ) AS day
        GROUP BY earliest_hour
      ),
      odd_hours AS (
        SELECT DISTINCT date_trunc('hour', instant, $4) AS hour
        FROM range
        JOIN clock ON NOT is_even
        CROSS JOIN generate_series(earliest_hour, latest_hour + interval '1 hour', interval '15 minutes') AS instant
        WHERE date_trunc('hour', instant, $4) BETWEEN earliest_hour AND latest_hour
      ),
      periods AS (
        SELECT hour, hour AS period
        FROM range
        JOIN clock ON is_even
        CROSS JOIN generate_series(earliest_hour, latest_hour, interval '1 hour') AS hour
        UNION ALL
        SELECT
          hour,
          CASE
            WHEN date_trunc('hour', hour, $4) = hour
            THEN hour
            ELSE (
              SELECT min(candidate)
              FROM generate_series(hour, hour + interval '1 hour', interval '30 seconds') AS candidate
              WHERE date_trunc('hour', candidate, $4) = hour
            )
          END
        FROM odd_hours
      ),
      odd_buckets AS (
        SELECT
          bucket,
          total_word_count,
          entry_count,
          CASE date_trunc('hour', bucket, $4)
            WHEN date_trunc('hour', bucket + interval '15 minutes' - interval '1 microsecond', $4)
            THEN date_trunc('hour', bucket, $4)
          END AS only_hour
        FROM learning_log_aggregates
        WHERE user_id = $1
          AND bucket > (SELECT earliest_hour - interval '15 minutes' FROM range JOIN clock ON NOT is_even)
          AND bucket < (SELECT latest_hour + interval '1 hour' FROM range JOIN clock ON NOT is_even)
      ),
      counted AS (
        SELECT date_bin('1 hour', bucket, (SELECT earliest_hour FROM range)) AS hour, total_word_count, entry_count
        FROM learning_log_aggregates
        WHERE user_id = $1
          AND bucket >= (SELECT earliest_hour FROM range JOIN clock ON is_even)
          AND bucket < (SELECT latest_hour + interval '1 hour' FROM range JOIN clock ON is_even)
        UNION ALL
        SELECT only_hour, total_word_count, entry_count
        FROM odd_buckets
        WHERE only_hour IS NOT NULL
        UNION ALL
        SELECT date_trunc('hour', timestamp, $4), word_count, 1
        FROM odd_buckets
        JOIN learning_log ON user_id = $1 AND timestamp >= bucket AND timestamp < bucket + interval '15 minutes'
        WHERE only_hour IS NULL
      ),
      sums AS (
        SELECT hour, sum(total_word_count)::bigint AS total_word_count, sum(entry_count)::bigint AS entry_count
        FROM counted
        GROUP BY hour
      ),
      summaries AS (
        SELECT
          hour,
          period,
          coalesce(total_word_count, 0) AS total_word_count,
          coalesce(entry_count, 0) AS entry_count,
          CASE WHEN $6 > 0 THEN
            sum(coalesce(total_word_count, 0)) OVER (
              ORDER BY hour ROWS BETWEEN greatest($6 - 1, 0) PRECEDING AND CURRENT ROW
            )::double precision / $6
          END AS moving_average
        FROM periods
        LEFT JOIN sums USING (hour)
      ),
      page AS (
        SELECT
          extract(epoch FROM period)::bigint AS period,
          coalesce(total_word_count::double precision / nullif(entry_count, 0), 0) AS average_words_learned,
          total_word_count,
          entry_count,
          moving_average
        FROM summaries
        WHERE hour >= (SELECT first_hour FROM asked) AND (entry_count > 0 OR NOT $5)
        ORDER BY period
        LIMIT $7 + 1
      )
      SELECT range_end, page.*
      FROM range
      LEFT JOIN page ON true
      ORDER BY period`,
    values: [
      range.userId,
      `${range.from} microseconds`,
      `${range.to} microseconds`,
      range.timeZone,
      range.omitEmptyPeriods,
      range.movingAverageWindow,
      range.pageSize,
    ],
  };
}
