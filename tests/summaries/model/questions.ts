import fc from "fast-check";
import { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { RelativeQuestion, Time } from "./interleaving.ts";
import { hour, periodLengths, second, type Theme, timeZones } from "./theme.ts";

/**
 * Generates the questions about one learner: two about long ago that differ in one field, one about the present, and
 * sometimes a long one.
 */
export function questions(theme: Theme): fc.Arbitrary<RelativeQuestion[]> {
  const closed = fc.record({ ...options(theme), ...closedRange(theme) });
  // Longer, because the range would contain too many shorter periods.
  const longer = longerPeriods.get(theme.granularity) ?? theme.granularity;
  return fc
    .record({
      closed,
      twin: closed.map((twin) => ({ ...twin, granularity: longer })),
      changed: fc.constantFrom(...fieldsOfQuestions),
      recent: fc.record({ ...options(theme), ...recentRange, granularity: granularityOfRecent }),
      long: fc.boolean(),
    })
    .map(({ closed, twin, changed, recent, long }) => [
      closed,
      // Differs in one field, so that its answer may differ.
      { ...closed, [changed]: twin[changed] },
      recent,
      ...(long ? [longQuestion(theme)] : []),
    ]);
}

const fieldsOfQuestions = [
  ...(["from", "to", "granularity", "timeZone", "omitEmptyPeriods"] as const),
  ...(["movingAverageWindow", "pageSize", "dayStart", "weekStart"] as const),
];

function options({ timeZone, granularity }: Theme) {
  return {
    timeZone: mostly(timeZone, fc.constantFrom(...timeZones)),
    granularity: fc.constant(granularity),
    omitEmptyPeriods: fc.boolean(),
    movingAverageWindow: fc.constantFrom(0, 0, 1, 3),
    pageSize: fc.constantFrom(10_000, 10_000, 1, 2),
    dayStart: fc.constantFrom(0, 0, 150, 240, 1425),
    weekStart: fc.constantFrom(Weekday.UNSPECIFIED, Weekday.MONDAY, Weekday.SATURDAY, Weekday.SUNDAY),
  };
}

function closedRange({ granularity, instant }: Theme) {
  const spans = fc.bigInt({ min: 0n, max: 3n * (periodLengths.get(granularity) ?? 0n) });
  return {
    from: spans.map((span): Time => ({ at: instant - span })),
    to: spans.map((span): Time => ({ at: instant + span })),
  };
}

/** Some of these ranges are open, and some have just ended. In some, `to` has passed, but its period has not ended. */
const recentRange = {
  from: fc.constantFrom(2n * hour, 3n * hour, 30n * hour).map((ago): Time => ({ ago })),
  to: fc.constantFrom(-hour, 0n, 20n * second, 100n * second, 600n * second).map((ago): Time => ({ ago })),
};

const granularityOfRecent = fc.constantFrom(
  ...[
    Granularity.HOUR,
    Granularity.HOUR,
    Granularity.HOUR,
    Granularity.DAY,
    Granularity.MONTH,
    Granularity.YEAR,
  ],
);

/** A question that takes the database so long that a write can be answered meanwhile. */
function longQuestion({ timeZone, instant }: Theme): RelativeQuestion {
  const year = 365n * 24n * hour;
  return {
    timeZone,
    granularity: Granularity.DAY,
    from: { at: instant - 10n * year },
    to: { at: instant + 2n * year },
    omitEmptyPeriods: true,
    movingAverageWindow: 0,
    pageSize: 10_000,
  };
}

const longerPeriods = new Map([
  [Granularity.HOUR, Granularity.DAY],
  [Granularity.DAY, Granularity.WEEK],
  [Granularity.WEEK, Granularity.MONTH],
  [Granularity.MONTH, Granularity.QUARTER],
  [Granularity.QUARTER, Granularity.YEAR],
]);

/** Generates the value, and sometimes one of the others. */
function mostly<Value>(value: Value, others: fc.Arbitrary<Value>): fc.Arbitrary<Value> {
  return fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: others });
}
