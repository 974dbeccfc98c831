import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";

/** A quarter of an hour, and the unit and time zone of the period that it belongs to. */
export interface QuarterOfPeriod {
  /** The name that DATE_TRUNC uses. */
  readonly unit: string;
  /** An IANA name that the database also reads as a zone name. */
  readonly timeZone: string;
  /** Its start, in microseconds since 1970. */
  readonly quarter: bigint;
}

/**
 * Finds an instant of the period that a quarter of an hour belongs to. It is usually the period's first instant.
 *
 * @returns microseconds since 1970; undefined if the quarter spans two periods, or if DATE_TRUNC returns an instant
 * that is not in the same period
 */
export async function findPeriodStart(
  pool: ConnectionPool,
  { unit, timeZone, quarter }: QuarterOfPeriod,
): Promise<bigint | undefined> {
  const [row] = await query<{ start: string | null }>(pool, {
    name: "find-period-start",
    text: `
      SELECT
        CASE WHEN last_label = label AND date_trunc($1, start, $2) = start
          THEN (extract(epoch FROM start) * 1000000)::bigint
        END AS start
      FROM (SELECT timestamptz 'epoch' + $3::interval AS quarter) AS asked
      CROSS JOIN date_trunc($1, quarter AT TIME ZONE $2) AS label
      CROSS JOIN date_trunc($1, (quarter + interval '15 minutes' - interval '1 microsecond') AT TIME ZONE $2) AS last_label
      CROSS JOIN date_trunc($1, quarter, $2) AS start`,
    values: [unit, timeZone, `${quarter} microseconds`],
  });
  return row?.start ? BigInt(row.start) : undefined;
}
