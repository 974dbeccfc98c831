import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";

/** A quarter of an hour, and whose period it belongs to. */
export interface QuarterOfPeriod {
  /** As DATE_TRUNC names it. */
  readonly unit: string;
  /** An IANA name that the database reads as one. */
  readonly timeZone: string;
  /** Microseconds since 1970. */
  readonly quarter: bigint;
}

/**
 * An instant that lies in the same period as all of a quarter of an hour. As a rule it is the period's first one.
 *
 * @returns microseconds since 1970; undefined if that instant or the quarter has parts of two periods
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
