import type pg from "pg";
import { databaseTimeZone } from "../../src/summaries/time-zone.ts";

/**
 * Names of time zones that a caller may send: all that Intl lists, and others that are links to them. Intl accepts
 * links, but lists few of them.
 */
export const zoneNames: readonly string[] = [
  ...Intl.supportedValuesOf("timeZone"),
  // Names without a slash, which PostgreSQL could mistake for an abbreviation or a POSIX rule.
  ...["CET", "CST6CDT", "Cuba", "EET", "EST", "EST5EDT", "Egypt", "Eire", "GB", "GB-Eire", "GMT", "GMT+0"],
  ...["GMT-0", "GMT0", "Greenwich", "HST", "Hongkong", "Iceland", "Iran", "Israel", "Jamaica", "Japan"],
  ...["Kwajalein", "Libya", "MET", "MST", "MST7MDT", "NZ", "NZ-CHAT", "Navajo", "PRC", "PST8PDT", "Poland"],
  ...["Portugal", "ROC", "ROK", "Singapore", "Turkey", "UCT", "UTC", "Universal", "W-SU", "WET", "Zulu"],
  // Names whose sign has the opposite meaning: Etc/GMT+5 is five hours behind UTC.
  ...["Etc/GMT", "Etc/GMT+0", "Etc/GMT+5", "Etc/GMT+12", "Etc/GMT-14", "Etc/UTC", "Etc/Zulu"],
  ...[
    "Africa/Asmera",
    "America/Buenos_Aires",
    "America/Indianapolis",
    "America/Ciudad_Juarez",
    "Asia/Kolkata",
  ],
  ...["Asia/Calcutta", "Asia/Kathmandu", "Asia/Katmandu", "Asia/Saigon", "Asia/Yangon", "Australia/ACT"],
  ...["Brazil/East", "Canada/Atlantic", "Chile/Continental", "Europe/Kiev", "Europe/Kyiv", "Mexico/General"],
  ...["Pacific/Enderbury", "Pacific/Kanton", "US/Eastern", "US/Indiana-Starke", "US/Samoa"],
];

/**
 * Returns the zones for which the database and Temporal have different offsets at some time from `from` to before `to`.
 * Compares right before and after each change that Temporal knows, and every ten days.
 */
export async function findDifferingZones(pool: pg.Pool, from: string, to: string): Promise<string[]> {
  const differing: string[] = [];
  for (const zone of zoneNames) {
    const stretches = stretchesOf(zone, Temporal.Instant.from(from), Temporal.Instant.from(to));
    const { rows } = await pool.query(
      `SELECT
       FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS stretch (start, stop, utc_offset)
       CROSS JOIN LATERAL (
         SELECT generate_series(start, stop - 1, 10 * 86400) UNION ALL SELECT stop - 1
       ) AS sample (second)
       WHERE to_timestamp(second) AT TIME ZONE $4 <> to_timestamp(second + utc_offset) AT TIME ZONE 'UTC'
       LIMIT 1`,
      [
        stretches.map(({ start }) => start),
        stretches.map(({ stop }) => stop),
        stretches.map(({ offset }) => offset),
        databaseTimeZone(zone),
      ],
    );
    if (rows.length > 0) differing.push(zone);
  }
  return differing;
}

/** Returns the stretches of time in which a zone has one offset from UTC, according to Temporal. All in seconds. */
function stretchesOf(zone: string, from: Temporal.Instant, to: Temporal.Instant) {
  const changes = [from, ...transitionsOf(zone, from, to), to];
  return changes.slice(0, -1).map((start, index) => ({
    start: start.epochMilliseconds / 1000,
    stop: (changes[index + 1] ?? to).epochMilliseconds / 1000,
    offset: start.toZonedDateTimeISO(zone).offsetNanoseconds / 1e9,
  }));
}

/** Returns the instants after `from` and before `to` at which the clock of a zone changes. */
export function transitionsOf(
  zone: string,
  from: Temporal.Instant,
  to: Temporal.Instant,
): Temporal.Instant[] {
  const transitions: Temporal.Instant[] = [];
  let next = from.toZonedDateTimeISO(zone).getTimeZoneTransition("next");
  while (next !== null && Temporal.Instant.compare(next.toInstant(), to) < 0) {
    transitions.push(next.toInstant());
    next = next.getTimeZoneTransition("next");
  }
  return transitions;
}
