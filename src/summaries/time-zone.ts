/**
 * What to call a time zone to the database; undefined if the IANA database has none of that name, in any letter case.
 *
 * PostgreSQL takes more than names of zones, and Intl, too: abbreviations such as PST, offsets, and POSIX rules such
 * as UTC+3, which means the opposite of what it seems to.
 */
export function databaseTimeZone(name: string): string | undefined {
  if (/^[a-z]{3}$/i.test(name)) return zonesOfThreeLetters.get(name.toUpperCase());
  return isKnownToIntl(name) ? name : undefined;
}

/**
 * The IANA names of three letters, and a zone that each is a link to. Three letters are an abbreviation first of all
 * to PostgreSQL, that is, one offset for all the year: CET would have no summer. (An operator's
 * `timezone_abbreviations` may even put EST in Australia.) Intl takes 25 more, such as BST, which it puts in Dhaka.
 *
 * As of release 2024b, which made the last zones among them links: https://data.iana.org/time-zones/tzdb/backward
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

/** The names that were found to be known, in lower case: to look one up takes longer than all else of a memoized answer. */
const knownNames = new Set<string>();

function isKnownToIntl(name: string): boolean {
  if (knownNames.has(name.toLowerCase())) return true;
  // It also knows offsets, and what the IANA database gave up in 2020.
  if (!/^[a-z]/i.test(name) || /^SystemV\//i.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    knownNames.add(name.toLowerCase());
    return true;
  } catch {
    return false;
  }
}
