import type pg from "pg";
import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { CalendarUnit } from "../granularity.ts";
import { type SummaryPage, type SummaryRange, type SummaryRow, summaryPage } from "./summary-page.ts";

/**
 * Adds up one learner's entries per day, week, month, quarter or year.
 *
 * The `label` of an instant is the result of DATE_TRUNC for its local time, such as 2024-03-31 00:00. A period
 * consists of all instants with the same label, and is named by the first of them. Usually that is the instant at
 * which the clock shows the label, the `usual` start, and the period lasts until the usual start of the next one.
 * Then WIDTH_BUCKET finds the label of a bucket, at a fraction of the cost of DATE_TRUNC.
 *
 * A period is `odd` if the clock changes near its usual start or end. A change of n hours matters only within n hours
 * of it. A period is also odd if it begins within a bucket (Monrovia until 1972). Odd periods need more work:
 *
 * - Midnight can come twice (Havana) or not at all (Beirut), and a whole day can be missing (Apia, 2011-12-30), which
 *   then has no row. So the first instant of an odd period is searched for in steps of a quarter of an hour, and
 *   the label of each of its buckets is computed with DATE_TRUNC.
 * - `to` can lie in the period before that of `from`: St. John's used to set its clock back from 00:01 to 23:01. So
 *   the first page starts with the earlier of the two periods. (On a later page, `from` is the start of the page, and
 *   all periods that are earlier in the calendar were on the pages before.)
 * - A bucket can have parts of two periods: its first and last instant have different labels. Then its `only_label`
 *   is NULL, and its entries are read from the log. PostgreSQL expects few rows in which it is NULL, so PostgreSQL
 *   looks up the entries of each such bucket by index.
 *
 * The statement starts as many periods before the page as the moving average of the first one needs, plus one more,
 * because a day can be missing. It stops at the first period of the next page, plus one more for the same reason. If
 * empty periods are omitted, it processes only the periods from the learner's first bucket in the range to the last
 * one, plus one on either side, because a period can be odd. So a range without entries of the learner costs nothing,
 * however long it is.
 */
export async function summarizeCalendarPeriods(
  pool: ConnectionPool,
  unit: CalendarUnit,
  range: SummaryRange,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const rows = await query<SummaryRow>(pool, calendarPeriodsStatement(unit, range), signal);
  return summaryPage(rows, range.pageSize);
}

/** The statement that {@link summarizeCalendarPeriods} runs. */
export function calendarPeriodsStatement(unit: CalendarUnit, range: SummaryRange): pg.QueryConfig {
  return {
    name: "summarize-calendar-periods",
    text: `
      WITH asked AS (
        SELECT
          CASE WHEN $10 THEN least(from_label, to_label) ELSE from_label END AS first_label,
          greatest(from_label, to_label) AS last_label
        FROM date_trunc($4, (timestamptz 'epoch' + $2::interval) AT TIME ZONE $6) AS from_label
        CROSS JOIN date_trunc($4, (timestamptz 'epoch' + $3::interval) AT TIME ZONE $6) AS to_label
      ),
      last_asked AS (
        SELECT CASE WHEN $7 THEN last_label ELSE least(last_label, first_label + ($9::integer + 1) * $5::interval) END AS label
        FROM asked
      ),
      filled AS (
        SELECT
          date_trunc($4, min(bucket) AT TIME ZONE $6) - $5::interval AS first_label,
          coalesce(date_trunc($4, max(bucket) AT TIME ZONE $6) + $5::interval, '-infinity') AS last_label
        FROM learning_log_aggregates
        WHERE $7
          AND user_id = $1
          AND bucket >= (SELECT first_label AT TIME ZONE $6 - interval '26 hours' FROM asked)
          AND bucket < (SELECT (last_label + $5::interval) AT TIME ZONE $6 + interval '26 hours' FROM asked)
      ),
      range AS (
        SELECT
          earliest_label,
          latest_label,
          earliest_label AT TIME ZONE $6 AS begins,
          (latest_label + $5::interval) AT TIME ZONE $6 AS ends,
          extract(epoch FROM (last_asked.label + $5::interval) AT TIME ZONE $6)::bigint AS range_end
        FROM asked
        CROSS JOIN last_asked
        CROSS JOIN filled
        CROSS JOIN LATERAL (
          SELECT
            CASE WHEN $7 THEN greatest(asked.first_label, filled.first_label) ELSE asked.first_label END
              - $8::integer * $5::interval AS earliest_label,
            CASE WHEN $7 THEN least(last_asked.label, filled.last_label) ELSE last_asked.label END AS latest_label
        ) AS labels
      ),
      calendar AS MATERIALIZED (
        SELECT label, label AT TIME ZONE $6 AS usual
        FROM range
        CROSS JOIN generate_series(earliest_label - $5::interval, latest_label + 2 * $5::interval, $5::interval) AS label
      ),
      starts AS MATERIALIZED (
        SELECT
          label,
          usual,
          change <> interval '0' AND (usual + change) AT TIME ZONE $6 - (usual - change) AT TIME ZONE $6 <> 2 * change AS is_odd
        FROM calendar
        CROSS JOIN LATERAL (
          SELECT
            (usual + interval '26 hours') AT TIME ZONE $6
            - (usual - interval '26 hours') AT TIME ZONE $6
            - interval '52 hours' AS change
        ) AS clock
      ),
      periods AS MATERIALIZED (
        SELECT
          label,
          CASE
            WHEN is_odd
            THEN (
              SELECT min(candidate)
              FROM (
                SELECT usual
                UNION ALL
                SELECT date_bin('15 minutes', usual, 'epoch') + quarters * interval '15 minutes'
                FROM generate_series(-104, 104) AS quarters
              ) AS near (candidate)
              WHERE date_trunc($4, candidate AT TIME ZONE $6) = label
            )
            ELSE usual
          END AS period
        FROM starts
        JOIN range ON label BETWEEN earliest_label AND latest_label
      ),
      stretches AS (
        SELECT
          label,
          usual AS begins,
          lead(usual) OVER by_label AS ends,
          is_odd OR lead(is_odd) OVER by_label OR date_bin('15 minutes', usual, 'epoch') <> usual AS is_odd
        FROM starts
        WINDOW by_label AS (ORDER BY label)
      ),
      lookup AS (
        SELECT
          array_agg(begins ORDER BY label) AS begins,
          array_agg(CASE WHEN is_odd THEN 'infinity' ELSE label END ORDER BY label) AS labels,
          min(begins) FILTER (WHERE is_odd) AS odd_begins,
          max(ends) FILTER (WHERE is_odd) AS odd_ends
        FROM stretches
      ),
      odd_buckets AS (
        SELECT
          bucket,
          total_word_count,
          entry_count,
          CASE date_trunc($4, bucket AT TIME ZONE $6)
            WHEN date_trunc($4, (bucket + interval '15 minutes' - interval '1 microsecond') AT TIME ZONE $6)
            THEN date_trunc($4, bucket AT TIME ZONE $6)
          END AS only_label
        FROM learning_log_aggregates
        WHERE user_id = $1
          AND bucket >= (SELECT odd_begins FROM lookup) AND bucket >= (SELECT begins - interval '26 hours' FROM range)
          AND bucket < (SELECT odd_ends FROM lookup) AND bucket < (SELECT ends + interval '26 hours' FROM range)
          AND (SELECT labels FROM lookup)[width_bucket(bucket, (SELECT begins FROM lookup))] = 'infinity'
      ),
      counted AS (
        SELECT
          (SELECT labels FROM lookup)[width_bucket(bucket, (SELECT begins FROM lookup))] AS label,
          total_word_count,
          entry_count
        FROM learning_log_aggregates
        WHERE user_id = $1 AND bucket >= (SELECT begins FROM range) AND bucket < (SELECT ends FROM range)
        UNION ALL
        SELECT only_label, total_word_count, entry_count
        FROM odd_buckets
        WHERE only_label IS NOT NULL
        UNION ALL
        SELECT date_trunc($4, timestamp AT TIME ZONE $6), word_count, 1
        FROM odd_buckets
        JOIN learning_log ON user_id = $1 AND timestamp >= bucket AND timestamp < bucket + interval '15 minutes'
        WHERE only_label IS NULL
      ),
      sums AS (
        SELECT label, sum(total_word_count)::bigint AS total_word_count, sum(entry_count)::bigint AS entry_count
        FROM counted
        GROUP BY label
      ),
      summaries AS (
        SELECT
          label,
          period,
          coalesce(total_word_count, 0) AS total_word_count,
          coalesce(entry_count, 0) AS entry_count,
          CASE WHEN $8 > 0 THEN
            sum(coalesce(total_word_count, 0)) OVER (
              ORDER BY label ROWS BETWEEN greatest($8 - 1, 0) PRECEDING AND CURRENT ROW
            )::double precision / $8
          END AS moving_average
        FROM periods
        LEFT JOIN sums USING (label)
        WHERE period IS NOT NULL
      ),
      page AS (
        SELECT
          extract(epoch FROM period)::bigint AS period,
          coalesce(total_word_count::double precision / nullif(entry_count, 0), 0) AS average_words_learned,
          total_word_count,
          entry_count,
          moving_average
        FROM summaries
        WHERE label >= (SELECT first_label FROM asked) AND (entry_count > 0 OR NOT $7)
        ORDER BY period
        LIMIT $9 + 1
      )
      SELECT range_end, page.*
      FROM range
      LEFT JOIN page ON true
      ORDER BY period`,
    values: [
      range.userId,
      `${range.from} microseconds`,
      `${range.to} microseconds`,
      unit.name,
      unit.step,
      range.timeZone,
      range.omitEmptyPeriods,
      range.movingAverageWindow,
      range.pageSize,
      range.isFirstPage,
    ],
  };
}
