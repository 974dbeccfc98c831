import pg from "pg";
import type { Log } from "../telemetry/log.ts";

/** The most zones that the log message lists; it also has the number of all. */
const namedZones = 20;

const timeoutMs = 30_000;

/**
 * Logs one warning if the rules of a time zone differ between the database and this process, in this year or the next:
 * one of the two needs an update. Runs in the background, on a separate connection.
 */
export function warnOfDifferentTimeZoneRules(databaseUrl: string, log: Log): void {
  if (!log.isLevelEnabled("warn") || !("Temporal" in globalThis)) return;
  const compare = async () => {
    const zones = await compareTimeZoneRules(databaseUrl);
    if (zones.length === 0) return;
    const named = zones.slice(0, namedZones);
    log.warn(
      { zones: named, count: zones.length, release: process.versions.tz },
      `the database's time zone rules differ from release ${process.versions.tz} of the IANA database in ${zones.length} zones, such as ${named[0]}: periods follow the database's rules; see docs/summaries.md`,
    );
  };
  compare().catch((error: unknown) => log.debug({ err: error }, "could not compare time zone rules"));
}

/**
 * Compares the database's time zone rules with those of this process, for the year of `now` and the next.
 *
 * @returns the zones whose rules differ, and those that the database does not know
 */
export async function compareTimeZoneRules(databaseUrl: string, now = new Date()): Promise<string[]> {
  const spans = offsetSpans(now.getUTCFullYear());
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: "daily-aggregator time zones",
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    statement_timeout: timeoutMs,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    // A span is sampled every week and at its last second. If the offset changes at another time in the database, at
    // least one sample differs.
    const { rows } = await client.query<{ zone: string }>(
      `SELECT DISTINCT zone
      FROM unnest($1::text[], $2::float8[], $3::float8[], $4::integer[]) AS span (zone, starts, ends, seconds_ahead)
      LEFT JOIN pg_timezone_names ON name = zone
      CROSS JOIN LATERAL (
        SELECT generate_series(to_timestamp(starts), to_timestamp(ends - 1), interval '7 days')
        UNION ALL
        SELECT to_timestamp(ends - 1)
      ) AS sample (at)
      WHERE CASE
        WHEN name IS NULL THEN true
        ELSE extract(epoch FROM (at AT TIME ZONE name) - (at AT TIME ZONE 'UTC')) <> seconds_ahead
      END
      ORDER BY zone`,
      [spans.zones, spans.starts, spans.ends, spans.offsets],
    );
    return rows.map(({ zone }) => zone);
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * The spans of constant offset in the given year and the next, by the rules of this process. Span number i has
 * `zones[i]`, `starts[i]` and `ends[i]` in seconds since 1970, and `offsets[i]` in seconds ahead of UTC.
 */
function offsetSpans(year: number) {
  const zones: string[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  const offsets: number[] = [];
  const end = Date.UTC(year + 2) / 1000;
  for (const zone of Intl.supportedValuesOf("timeZone")) {
    let from = Temporal.Instant.fromEpochMilliseconds(Date.UTC(year)).toZonedDateTimeISO(zone);
    for (;;) {
      const change = from.getTimeZoneTransition("next");
      const isLast = change === null || change.epochMilliseconds / 1000 >= end;
      zones.push(zone);
      starts.push(from.epochMilliseconds / 1000);
      ends.push(isLast ? end : change.epochMilliseconds / 1000);
      offsets.push(Math.round(from.offsetNanoseconds / 1e9));
      if (isLast) break;
      from = change;
    }
  }
  return { zones, starts, ends, offsets };
}
