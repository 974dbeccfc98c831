import { setImmediate } from "node:timers/promises";
import pg from "pg";
import type { Log } from "../telemetry/log.ts";

/** How many zones the log names; the rest is a number. */
const namedZones = 20;

const timeoutMs = 30_000;

/**
 * Says once in the log which time zones have other rules in the database than in this process, in this year and the
 * next: one of the two needs an update. It takes a connection of its own, and nobody waits for it.
 */
export function warnOfOtherRules(databaseUrl: string, log: Log): void {
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

/** @returns the zones that differ, or that the database does not know */
export async function compareTimeZoneRules(databaseUrl: string, now = new Date()): Promise<string[]> {
  const samples = await sampleOffsets(now.getUTCFullYear());
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
    const { rows } = await client.query<{ zone: string }>(
      `SELECT DISTINCT zone
      FROM unnest($1::text[], $2::float8[], $3::integer[]) AS sample (zone, at, seconds_ahead)
      LEFT JOIN pg_timezone_names ON name = zone
      WHERE CASE
        WHEN name IS NULL THEN true
        ELSE extract(epoch FROM (to_timestamp(at) AT TIME ZONE name) - (to_timestamp(at) AT TIME ZONE 'UTC'))
          <> seconds_ahead
      END
      ORDER BY zone`,
      [samples.zones, samples.instants, samples.offsets],
    );
    return rows.map(({ zone }) => zone);
  } finally {
    await client.end().catch(() => {});
  }
}

/**
 * What this process says each zone's clock is ahead of UTC: every week, and at both sides of each change. A change that
 * the database has at another time is then seen at one of these.
 */
async function sampleOffsets(year: number) {
  const zones: string[] = [];
  const instants: number[] = [];
  const offsets: number[] = [];
  const start = Temporal.Instant.fromEpochMilliseconds(Date.UTC(year));
  const end = Temporal.Instant.fromEpochMilliseconds(Date.UTC(year + 2));
  for (const zone of Intl.supportedValuesOf("timeZone")) {
    const add = (instant: Temporal.Instant) => {
      zones.push(zone);
      instants.push(Math.floor(instant.epochMilliseconds / 1000));
      offsets.push(Math.round(instant.toZonedDateTimeISO(zone).offsetNanoseconds / 1e9));
    };
    for (let at = start; Temporal.Instant.compare(at, end) < 0; at = at.add({ hours: 7 * 24 })) add(at);
    let change = start.toZonedDateTimeISO(zone).getTimeZoneTransition("next");
    while (change !== null && Temporal.Instant.compare(change.toInstant(), end) < 0) {
      add(change.toInstant());
      add(change.toInstant().subtract({ seconds: 1 }));
      change = change.getTimeZoneTransition("next");
    }
    // Calls are answered meanwhile.
    await setImmediate();
  }
  return { zones, instants, offsets };
}
