import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { CalendarRules } from "../calendar-rules.ts";

/** The first instants of stretches of time in which all instants have the same label. All in seconds since 1970. */
export interface LabelChanges {
  readonly instants: readonly number[];
  /** The label from each instant on: a local time as if it were UTC, or, for hours, an instant. */
  readonly labels: readonly number[];
}

/**
 * Asks PostgreSQL where the labels of a calendar change. The label of an instant is the result of DATE_TRUNC for its
 * local time less the shift, plus the shift; for hours, it is the result of DATE_TRUNC for the instant itself.
 *
 * DATE_TRUNC alone decides. The statement only chooses at which instants it is called, so that a year takes a few
 * hundred calls instead of one for each second:
 *
 * - While the clock does not change, a label begins when the clock shows it. So one call for each day is enough, and
 *   for long periods, one call for each day near the start of a period. No clock has changed twice within two days, so
 *   a day with the same offset at both ends has no change.
 * - A day in which the clock changes is searched in quarters of an hour, and the quarter in which it changes in steps of
 *   half a minute. Since 1970, every clock has changed at a multiple of half a minute (Monrovia, 1972, 00:44:30Z).
 *
 * For hours, only one label of each day is returned while the clock does not change: the others follow at intervals of
 * one hour.
 *
 * @param from seconds since 1970, a multiple of 24 hours; its label is the first one of the result
 * @param to the same; no instant of the result is at `to` or later
 * @throws pg.DatabaseError with SQLSTATE 22023 if the database does not know the time zone
 */
export async function findLabels(
  pool: ConnectionPool,
  { unit, timeZone, shiftMinutes }: CalendarRules,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): Promise<LabelChanges> {
  const statement = {
    name: "find-labels",
    text: `
      WITH asked AS (
        SELECT to_timestamp($5) AS from_instant, to_timestamp($6) AS to_instant
      ),
      days AS MATERIALIZED (
        SELECT DISTINCT day AS begins, day + interval '24 hours' AS ends
        FROM asked
        CROSS JOIN generate_series(
          date_trunc($1, from_instant AT TIME ZONE $2 - $4::interval) + $4::interval - $3::interval,
          to_instant AT TIME ZONE $2 + $3::interval,
          $3::interval
        ) AS label
        CROSS JOIN generate_series(-1, 1) AS near
        CROSS JOIN date_bin('24 hours', label AT TIME ZONE $2 + near * interval '24 hours', 'epoch') AS day
        WHERE day >= from_instant AND day < to_instant
      ),
      quarters AS MATERIALIZED (
        SELECT quarter AS begins, quarter + interval '15 minutes' AS ends
        FROM days
        CROSS JOIN generate_series(begins, ends - interval '15 minutes', interval '15 minutes') AS quarter
        WHERE ${offsetAt("begins")} <> ${offsetAt("ends")}
      ),
      candidates AS (
        SELECT from_instant AS instant
        FROM asked
        UNION
        SELECT ${startOfLabelAt("ends")}
        FROM (SELECT ends FROM days UNION ALL SELECT ends FROM quarters) AS spans
        UNION
        SELECT half_minute
        FROM quarters
        CROSS JOIN generate_series(begins, ends, interval '30 seconds') AS half_minute
        WHERE ${offsetAt("begins")} <> ${offsetAt("ends")}
      ),
      labelled AS (
        SELECT instant, label, lag(label) OVER (ORDER BY instant) AS previous_label
        FROM candidates
        CROSS JOIN asked
        CROSS JOIN LATERAL (SELECT ${labelAt("instant")} AS label) AS truncated
        WHERE instant >= from_instant AND instant < to_instant
      )
      SELECT
        string_agg(extract(epoch FROM instant)::bigint::text, ',' ORDER BY instant) AS instants,
        string_agg(extract(epoch FROM label)::bigint::text, ',' ORDER BY instant) AS labels
      FROM labelled
      WHERE label IS DISTINCT FROM previous_label`,
    values: [unit.name, timeZone, unit.step, `${shiftMinutes} minutes`, from, to],
  };
  const [row] = await query<{ instants: string; labels: string }>(pool, statement, signal);
  if (row === undefined) throw new Error("an aggregate without GROUP BY must return a row");
  return { instants: numbersIn(row.instants), labels: numbersIn(row.labels) };
}

/** How far the clock of the zone is ahead of UTC at an instant. Less than a day, so the interval consists of hours. */
function offsetAt(instant: string): string {
  return `(${instant} AT TIME ZONE $2 AT TIME ZONE 'UTC' - ${instant})`;
}

function labelAt(instant: string): string {
  return `(
    CASE
      WHEN $1 = 'hour' THEN date_trunc($1, ${instant}, $2) AT TIME ZONE 'UTC'
      ELSE date_trunc($1, ${instant} AT TIME ZONE $2 - $4::interval) + $4::interval
    END
  )`;
}

/** The instant at which the label of an instant began, unless the clock has changed in between. */
function startOfLabelAt(instant: string): string {
  return `
    ${labelAt(instant)} AT TIME ZONE 'UTC'
    - CASE WHEN $1 = 'hour' THEN interval '0' ELSE ${offsetAt(instant)} END`;
}

function numbersIn(list: string): number[] {
  return list.split(",").map(Number);
}
