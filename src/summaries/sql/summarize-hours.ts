import type pg from "pg";
import { query } from "../../database/query.ts";
import type { PeriodRow, SummaryRange } from "./period-row.ts";

/**
 * Adds up one learner's entries per hour of the local clock.
 *
 * A period is what DATE_TRUNC says of an instant, its `hour`, so an hour that the clock shows twice is two periods.
 * Its name is the first instant with that value. As a rule that is the value itself. Where the clock skips by part of
 * an hour (Lord Howe), the value may lie before the change, in the hour before: then the instants after it are
 * searched. They are half a minute apart: no clock has changed in between since 1970 (Monrovia, 1972, 00:44:30Z).
 * Such a change also cuts hours short, so the range is searched for hours by steps that none can fall through.
 *
 * Where a bucket's first and last instant lie in different hours, its entries are read from the log.
 */
export async function summarizeHours(
  pool: pg.Pool,
  range: SummaryRange,
  signal: AbortSignal,
): Promise<PeriodRow[]> {
  return query<PeriodRow>(
    pool,
    {
      name: "summarize-hours",
      text: `
        WITH range AS (
          SELECT
            date_trunc('hour', timestamptz 'epoch' + $2::interval, $4) AS first_hour,
            date_trunc('hour', timestamptz 'epoch' + $3::interval, $4) AS last_hour
        ),
        clock AS (
          SELECT CASE count(DISTINCT extract(epoch FROM day AT TIME ZONE $4 - day AT TIME ZONE 'UTC') % 3600)
            WHEN 1 THEN interval '1 hour'
            ELSE interval '15 minutes'
          END AS step
          FROM range
          CROSS JOIN generate_series(
            first_hour - interval '24 hours', last_hour + interval '48 hours', interval '24 hours'
          ) AS day
        ),
        hours AS (
          SELECT DISTINCT date_trunc('hour', instant, $4) AS hour
          FROM range
          CROSS JOIN clock
          CROSS JOIN generate_series(first_hour, last_hour + interval '1 hour', step) AS instant
          WHERE date_trunc('hour', instant, $4) BETWEEN first_hour AND last_hour
        ),
        periods AS (
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
            END AS period
          FROM hours
        ),
        buckets AS (
          SELECT
            bucket,
            total_word_count,
            entry_count,
            date_trunc('hour', bucket, $4) AS first_hour,
            date_trunc('hour', bucket + interval '15 minutes' - interval '1 microsecond', $4) AS last_hour
          FROM learning_log_aggregates
          WHERE user_id = $1
            AND bucket > (SELECT first_hour - interval '15 minutes' FROM range)
            AND bucket < (SELECT last_hour + interval '1 hour' FROM range)
        ),
        counted AS (
          SELECT first_hour AS hour, total_word_count, entry_count
          FROM buckets
          WHERE first_hour = last_hour
          UNION ALL
          SELECT date_trunc('hour', timestamp, $4), word_count, 1
          FROM buckets
          JOIN learning_log ON user_id = $1 AND timestamp >= bucket AND timestamp < bucket + interval '15 minutes'
          WHERE first_hour <> last_hour
        ),
        sums AS (
          SELECT hour, sum(total_word_count)::bigint AS total_word_count, sum(entry_count)::bigint AS entry_count
          FROM counted
          GROUP BY hour
        )
        SELECT
          extract(epoch FROM period)::bigint AS period,
          coalesce(total_word_count::double precision / entry_count, 0) AS average_words_learned,
          coalesce(total_word_count, 0) AS total_word_count,
          coalesce(entry_count, 0) AS entry_count
        FROM periods
        LEFT JOIN sums USING (hour)
        WHERE entry_count IS NOT NULL OR NOT $5
        ORDER BY period`,
      values: [
        range.userId,
        `${range.from} microseconds`,
        `${range.to} microseconds`,
        range.timeZone,
        range.omitEmptyPeriods,
      ],
    },
    signal,
  );
}
