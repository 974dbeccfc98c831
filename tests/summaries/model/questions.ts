import fc from "fast-check";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { Asked, Time } from "./interleaving.ts";
import { hour, periodLengths, second, type Theme, timeZones } from "./theme.ts";

/** What is asked of one learner: two questions about long ago that have most in common, one about these days, and a long one. */
export function questions(theme: Theme): fc.Arbitrary<Asked[]> {
  const closed = fc.record({ ...options(theme), ...closedRange(theme) });
  // Not shorter: there would be too many of them.
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
      // Differs in one field, and so may its answer.
      { ...closed, [changed]: twin[changed] },
      recent,
      ...(long ? [longQuestion(theme)] : []),
    ]);
}

const fieldsOfQuestions = [
  ...(["from", "to", "granularity", "timeZone", "omitEmptyPeriods"] as const),
  ...(["movingAverageWindow", "pageSize"] as const),
];

function options({ timeZone, granularity }: Theme) {
  return {
    timeZone: mostly(timeZone, fc.constantFrom(...timeZones)),
    granularity: fc.constant(granularity),
    omitEmptyPeriods: fc.boolean(),
    movingAverageWindow: fc.constantFrom(0, 0, 1, 3),
    pageSize: fc.constantFrom(10_000, 10_000, 1, 2),
  };
}

function closedRange({ granularity, instant }: Theme) {
  const spans = fc.bigInt({ min: 0n, max: 3n * (periodLengths.get(granularity) ?? 0n) });
  return {
    from: spans.map((span): Time => ({ at: instant - span })),
    to: spans.map((span): Time => ({ at: instant + span })),
  };
}

/** Some of these are open, some have just ended; in some `to` has passed and its period has not. */
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

/** One that takes the database long enough for a write to be answered meanwhile. */
function longQuestion({ timeZone, instant }: Theme): Asked {
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

/** That value, and now and then another one. */
function mostly<Value>(value: Value, others: fc.Arbitrary<Value>): fc.Arbitrary<Value> {
  return fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: others });
}
