/**
 * Returns the name of a time zone to use in the database; undefined if the IANA database has no zone of that name.
 * Letter case does not matter.
 *
 * PostgreSQL and Intl accept more than zone names: abbreviations such as PST, offsets, and POSIX rules such as UTC+3,
 * which PostgreSQL reads as three hours behind UTC.
 */
export function databaseTimeZone(name: string): string | undefined {
  if (/^[a-z]{3}$/i.test(name)) return zonesOfThreeLetters.get(name.toUpperCase());
  return isKnownToIntl(name) ? name : undefined;
}

/**
 * The IANA names of three letters, each with a zone that it is a link to. PostgreSQL reads three letters as an
 * abbreviation first, which is a fixed offset: CET would have no summer time. (With another `timezone_abbreviations`
 * setting, EST may even be in Australia.) Intl accepts 25 other names of three letters, such as BST, which it places
 * in Dhaka.
 *
 * As of release 2024b, in which the last of these zones became links: https://data.iana.org/time-zones/tzdb/backward
 */
const zonesOfThreeLetters: ReadonlyMap<string, string> = new Map([
  ["CET", "Europe/Brussels"],
  ["EET", "Europe/Athens"],
  ["EST", "America/Panama"],
  ["GMT", "Etc/GMT"],
  ["HST", "Pacific/Honolulu"],
  ["MET", "Europe/Brussels"],
  ["MST", "America/Phoenix"],
  ["PRC", "Asia/Shanghai"],
  ["ROC", "Asia/Taipei"],
  ["ROK", "Asia/Seoul"],
  ["UCT", "Etc/UTC"],
  ["UTC", "Etc/UTC"],
  ["WET", "Europe/Lisbon"],
]);

/**
 * The names that Intl has accepted, in lower case. They are cached because a lookup by Intl takes longer than the
 * rest of a memoized call.
 */
const knownNames = new Set<string>();

function isKnownToIntl(name: string): boolean {
  if (knownNames.has(name.toLowerCase())) return true;
  // Intl also accepts offsets, and the SystemV zones, which the IANA database removed in 2020.
  if (!/^[a-z]/i.test(name) || /^SystemV\//i.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    knownNames.add(name.toLowerCase());
    return true;
  } catch {
    return false;
  }
}
