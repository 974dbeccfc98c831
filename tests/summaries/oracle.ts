import { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";

// Computes the answer that GetSummary must give. It uses Temporal, so it is independent of the SQL and of the
// database's time zone data.

/** The fields of an entry that a summary depends on. */
export interface OracleEntry {
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
  readonly wordCount: number;
}

/** The summary to compute. */
export interface OracleQuestion {
  /** Microseconds since 1970. */
  readonly from: bigint;
  /** Microseconds since 1970. */
  readonly to: bigint;
  readonly granularity: Granularity;
  readonly timeZone: string;
  readonly omitEmptyPeriods?: boolean;
  /** In periods; 0 or undefined for no moving average. */
  readonly movingAverageWindow?: number;
  /** In minutes after local midnight; undefined for midnight. */
  readonly dayStart?: number;
  /** Undefined for Monday. */
  readonly weekStart?: Weekday;
}

/** The fields of a question that determine which local times belong to one period. */
type Calendar = Pick<OracleQuestion, "granularity" | "dayStart" | "weekStart">;

/** A period, with the sum and the number of its entries. */
export interface OraclePeriod {
  /** The first instant of the period, such as 2024-03-31T00:00:00Z. */
  readonly period: string;
  readonly total: bigint;
  readonly count: bigint;
  /** Present if the question has a window. */
  readonly movingAverage?: number;
}

/**
 * Returns every period from the one that contains `from` to the one that contains `to`.
 *
 * Two instants are in the same period if they have the same label. So this function searches for the first instant of
 * each label, and adds up the entries of each label.
 */
export function summarize(entries: readonly OracleEntry[], question: OracleQuestion): OraclePeriod[] {
  const { from, to, timeZone, omitEmptyPeriods = false, movingAverageWindow = 0 } = question;
  // Sorted, because the clock may be set back to the previous period between `from` and `to`.
  const ends = [from, to].map((instant) => labelOf(zoned(instant, timeZone), question)).sort();
  const [firstLabel = "", lastLabel = ""] = ends;
  const entriesOf = Map.groupBy(entries, ({ timestamp }) => labelOf(zoned(timestamp, timeZone), question));
  const isSparse = omitEmptyPeriods && movingAverageWindow === 0;
  return [...(isSparse ? firstInstantsOf(entriesOf, question) : firstInstants(question))]
    .sort(([label], [other]) => (label < other ? -1 : 1))
    .map(([label, instant]) => {
      const wordCounts = (entriesOf.get(label) ?? []).map(({ wordCount }) => BigInt(wordCount));
      const total = wordCounts.reduce((sum, wordCount) => sum + wordCount, 0n);
      return { label, period: instant.toString(), total, count: BigInt(wordCounts.length) };
    })
    .map(({ label, ...period }, index, all) => {
      if (movingAverageWindow === 0) return { label, ...period };
      const window = all.slice(Math.max(0, index - movingAverageWindow + 1), index + 1);
      const sum = window.reduce((words, { total }) => words + total, 0n);
      return { label, ...period, movingAverage: Number(sum) / movingAverageWindow };
    })
    .filter(
      ({ label, count }) => label >= firstLabel && label <= lastLabel && (count > 0n || !omitEmptyPeriods),
    )
    .map(({ label: _, ...period }) => period);
}

/**
 * Returns the first instant of each label from `from` to `to`, and of some labels before and after, including those
 * that a moving average needs.
 */
function firstInstants(question: OracleQuestion): Map<string, Temporal.Instant> {
  const { from, to, granularity, timeZone, movingAverageWindow = 0 } = question;
  const margin = marginDays[granularity] * dayMicros;
  const reachBack = (BigInt(movingAverageWindow) * longestHours[granularity] * dayMicros) / 24n;
  const end = zoned(to + margin, timeZone);
  const found = new Map<string, Temporal.Instant>();
  let time = zoned(from - margin - reachBack, timeZone);
  while (Temporal.ZonedDateTime.compare(time, end) < 0) {
    const label = labelOf(time, question);
    if (!found.has(label)) found.set(label, time.toInstant());
    time = nextChange(time, question);
  }
  return found;
}

/** Returns the first instants of labels with entries only, because a range of many years has thousands of labels. */
function firstInstantsOf(
  entriesOf: ReadonlyMap<string, readonly OracleEntry[]>,
  question: OracleQuestion,
): (readonly [string, Temporal.Instant])[] {
  return [...entriesOf].flatMap(([label, [{ timestamp } = { timestamp: 0n }]]) => {
    const instant = firstInstants({ ...question, from: timestamp, to: timestamp }).get(label);
    return instant === undefined ? [] : [[label, instant] as const];
  });
}

const dayMicros = 86_400_000_000n;

/** The length of the longest period of the granularity, in hours, apart from clock changes. */
const longestHours: Readonly<Record<Granularity, bigint>> = {
  [Granularity.UNSPECIFIED]: 0n,
  [Granularity.HOUR]: 1n,
  [Granularity.DAY]: 24n,
  [Granularity.WEEK]: 7n * 24n,
  [Granularity.MONTH]: 31n * 24n,
  [Granularity.QUARTER]: 92n * 24n,
  [Granularity.YEAR]: 366n * 24n,
};

/**
 * Longer than a period of the granularity plus the largest clock change, which is a day. A period that does not begin at
 * midnight, or a week that does not begin on Monday, is no longer than others.
 */
const marginDays: Readonly<Record<Granularity, bigint>> = {
  [Granularity.UNSPECIFIED]: 0n,
  [Granularity.HOUR]: 2n,
  [Granularity.DAY]: 3n,
  [Granularity.WEEK]: 9n,
  [Granularity.MONTH]: 33n,
  [Granularity.QUARTER]: 94n,
  [Granularity.YEAR]: 368n,
};

/** Returns a label that all instants of a period share, and no others. Labels sort in calendar order. */
function labelOf(time: Temporal.ZonedDateTime, calendar: Calendar): string {
  const start = localStart(time, calendar);
  if (calendar.granularity !== Granularity.HOUR) return start.toString();
  // The clock may show an hour twice. The start is counted back in elapsed time, so that the two hours differ.
  return time
    .toInstant()
    .subtract(start.until(time.toPlainDateTime(), { largestUnit: "hour" }))
    .toString();
}

/**
 * Returns the next instant that may have another label: when the local clock reaches the next period, or when the
 * clock is changed before that.
 */
function nextChange(time: Temporal.ZonedDateTime, calendar: Calendar): Temporal.ZonedDateTime {
  const nextLocalStart = localStart(time, calendar).add(periodLengths[calendar.granularity]);
  const untilNext = time.toPlainDateTime().until(nextLocalStart, { largestUnit: "hour" });
  // Temporal adds hours and smaller units to a ZonedDateTime in elapsed time.
  const next = time.add(untilNext);
  const changed = time.getTimeZoneTransition("next");
  return changed !== null && Temporal.ZonedDateTime.compare(changed, next) < 0 ? changed : next;
}

const periodLengths: Readonly<Record<Granularity, Temporal.DurationLike>> = {
  [Granularity.UNSPECIFIED]: {},
  [Granularity.HOUR]: { hours: 1 },
  [Granularity.DAY]: { days: 1 },
  [Granularity.WEEK]: { weeks: 1 },
  [Granularity.MONTH]: { months: 1 },
  [Granularity.QUARTER]: { months: 3 },
  [Granularity.YEAR]: { years: 1 },
};

/** Returns the local date and time at which the period began, or would have begun without a clock change. */
function localStart(time: Temporal.ZonedDateTime, calendar: Calendar): Temporal.PlainDateTime {
  const local = time.toPlainDateTime();
  if (calendar.granularity === Granularity.HOUR)
    return local.round({ smallestUnit: "hour", roundingMode: "floor" });
  const { dayStart = 0 } = calendar;
  // Before `dayStart`, the previous day has not ended.
  const day = local.subtract({ minutes: dayStart }).toPlainDate();
  return firstDay(day, calendar).toPlainDateTime().add({ minutes: dayStart });
}

/** Returns the first day of the period that a day belongs to. */
function firstDay(day: Temporal.PlainDate, { granularity, weekStart }: Calendar): Temporal.PlainDate {
  switch (granularity) {
    case Granularity.DAY:
      return day;
    case Granularity.WEEK:
      // Temporal numbers the days of the week as the enum does: Monday is 1, and Sunday is 7.
      return day.subtract({ days: (day.dayOfWeek - (weekStart || Weekday.MONDAY) + 7) % 7 });
    case Granularity.MONTH:
      return day.with({ day: 1 });
    case Granularity.QUARTER:
      return day.with({ day: 1, month: day.month - ((day.month - 1) % 3) });
    case Granularity.YEAR:
      return day.with({ day: 1, month: 1 });
    default:
      throw new Error(`unknown granularity: ${granularity}`);
  }
}

function zoned(micros: bigint, timeZone: string): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochNanoseconds(micros * 1000n).toZonedDateTimeISO(timeZone);
}
