import type pg from "pg";
import { settlingSeconds } from "../../database/learner-changes.ts";
import { query } from "../../database/query.ts";
import type { CalendarUnit } from "../granularity.ts";
import { type SummaryPage, type SummaryRange, type SummaryRow, summaryPage } from "./summary-page.ts";

/**
 * Adds up one learner's entries per day, week, month, quarter or year.
 *
 * A period is what DATE_TRUNC of the local time says, its `label`, such as 2024-03-31 00:00. Its name is the first
 * instant with that label. As a rule that is the label's own instant. Within 26 hours of a change of the clock,
 * the instants a quarter of an hour apart are searched instead: midnight may come twice (Havana), not at all
 * (Beirut), or a whole day be missing (Apia, 2011-12-30), which then has no row. The period of `to` may even be the
 * one before that of `from`: St. John's once put its clock back a minute after midnight. On a later page `from` is
 * where the page begins, and whatever the calendar has before it was on the pages before.
 *
 * The periods gone through begin early enough for the first one's moving average (one more than its window has, since
 * a day may be missing), and end with the page, and one more for the same reason, unless empty ones are to be left out.
 *
 * Where a bucket's first and last instant have different labels, its entries are read from the log.
 */
export async function summarizeCalendarPeriods(
  pool: pg.Pool,
  unit: CalendarUnit,
  range: SummaryRange,
  signal: AbortSignal,
): Promise<SummaryPage> {
  const rows = await query<SummaryRow>(
    pool,
    {
      name: "summarize-calendar-periods",
      text: `
        WITH asked AS (
          SELECT
            CASE WHEN $11 THEN least(from_label, to_label) ELSE from_label END AS first_label,
            greatest(from_label, to_label) AS last_label
          FROM date_trunc($4, (timestamptz 'epoch' + $2::interval) AT TIME ZONE $6) AS from_label
          CROSS JOIN date_trunc($4, (timestamptz 'epoch' + $3::interval) AT TIME ZONE $6) AS to_label
        ),
        range AS (
          SELECT earliest_label, latest_label, (latest_label + $5::interval) AT TIME ZONE $6 <= now() - $10::interval AS is_closed
          FROM asked
          CROSS JOIN LATERAL (
            SELECT
              first_label - $8::integer * $5::interval AS earliest_label,
              CASE WHEN $7 THEN last_label ELSE least(last_label, first_label + ($9::integer + 1) * $5::interval) END AS latest_label
          ) AS labels
        ),
        periods AS (
          SELECT label, period
          FROM range
          CROSS JOIN generate_series(earliest_label, latest_label, $5::interval) AS label
          CROSS JOIN LATERAL (SELECT label AT TIME ZONE $6 AS usual) AS instant
          CROSS JOIN LATERAL (
            SELECT CASE
              WHEN (usual + interval '26 hours') AT TIME ZONE $6 - (usual - interval '26 hours') AT TIME ZONE $6
                = interval '52 hours'
              THEN usual
              ELSE (
                SELECT min(candidate)
                FROM (
                  SELECT usual
                  UNION ALL
                  SELECT date_bin('15 minutes', usual, 'epoch') + quarters * interval '15 minutes'
                  FROM generate_series(-104, 104) AS quarters
                ) AS near (candidate)
                WHERE date_trunc($4, candidate AT TIME ZONE $6) = label
              )
            END AS period
          ) AS first_instant
          WHERE period IS NOT NULL
        ),
        buckets AS (
          SELECT
            bucket,
            total_word_count,
            entry_count,
            date_trunc($4, bucket AT TIME ZONE $6) AS first_label,
            date_trunc($4, (bucket + interval '15 minutes' - interval '1 microsecond') AT TIME ZONE $6) AS last_label
          FROM learning_log_aggregates
          WHERE user_id = $1
            AND bucket >= (SELECT earliest_label AT TIME ZONE $6 - interval '26 hours' FROM range)
            AND bucket < (SELECT (latest_label + $5::interval) AT TIME ZONE $6 + interval '26 hours' FROM range)
        ),
        counted AS (
          SELECT first_label AS label, total_word_count, entry_count
          FROM buckets
          WHERE first_label = last_label
          UNION ALL
          SELECT date_trunc($4, timestamp AT TIME ZONE $6), word_count, 1
          FROM buckets
          JOIN learning_log ON user_id = $1 AND timestamp >= bucket AND timestamp < bucket + interval '15 minutes'
          WHERE first_label <> last_label
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
        SELECT is_closed, page.*
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
        `${settlingSeconds} seconds`,
        range.isFirstPage,
      ],
    },
    signal,
  );
  return summaryPage(rows, range.pageSize);
}
