import { isDeepStrictEqual } from "node:util";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { canonicalKey, nextPageToken, summaryRequest } from "../../src/summaries/summary-request.ts";
import { effort, seed } from "../support/random.ts";

// The memo finds an answer by its key. If equal requests had different keys, it would query the database needlessly. If
// different requests had equal keys, it would return a wrong answer.

/** The meaning of a request, however it is written. */
interface Meaning {
  readonly userId: string;
  /** Microseconds since 1970. */
  readonly from: bigint;
  readonly to: bigint;
  readonly granularity: Granularity;
  readonly timeZone: keyof typeof zoneNames;
  readonly omitEmptyPeriods: boolean;
  readonly movingAverageWindow: number;
  readonly dayStart: number;
  /** Monday if the granularity is not WEEK, because only weeks depend on it. */
  readonly weekStart: Weekday;
  readonly pageSize: number;
  /** Where the page begins, in seconds since 1970; undefined for the first page. */
  readonly page: bigint | undefined;
}

/** Some time zones, and the ways to write each of them. */
const zoneNames = {
  "Etc/UTC": ["", "UTC", "utc", "UCT", "etc/utc", "Etc/UTC"],
  "Europe/Berlin": ["Europe/Berlin", "europe/berlin", "EUROPE/BERLIN"],
  "Europe/Brussels": ["Europe/Brussels", "europe/Brussels", "CET", "met"],
  "Asia/Kathmandu": ["Asia/Kathmandu", "asia/kathmandu"],
} as const;

const instants = fc.oneof(
  fc.constantFrom(0n, 1n, 999_999n, 1_000_000n, 1_709_208_000_000_000n, 253_370_764_799_999_999n),
  fc.bigInt({ min: 0n, max: 4_000_000_000_000_000n }),
);

/** Each field, with values that a key could confuse with each other, or with those of other fields. */
const fields: { [Field in keyof Meaning]: fc.Arbitrary<Meaning[Field]> } = {
  userId: fc.oneof(
    fc.constantFrom("0", "false", "null", "learner", "Learner", 'learner","2', "learner,1", "[]", "\\", '"'),
    fc.string({ minLength: 1, maxLength: 128, unit: "grapheme" }),
  ),
  from: instants,
  to: instants,
  granularity: fc.constantFrom(Granularity.WEEK, Granularity.MONTH, Granularity.QUARTER, Granularity.YEAR),
  // Object.keys returns strings, without the type of the keys.
  timeZone: fc.constantFrom(...(Object.keys(zoneNames) as (keyof typeof zoneNames)[])),
  omitEmptyPeriods: fc.boolean(),
  movingAverageWindow: fc.constantFrom(0, 1, 2, 12, 366),
  dayStart: fc.constantFrom(0, 15, 240, 1425),
  weekStart: fc.constantFrom(Weekday.MONDAY, Weekday.TUESDAY, Weekday.SATURDAY, Weekday.SUNDAY),
  pageSize: fc.constantFrom(1, 2, 12, 366, 9_999, 10_000),
  page: fc.option(fc.constantFrom(0n, 1n, 1_709_208_000n, -631_152_000n), { nil: undefined }),
};

const meanings: fc.Arbitrary<Meaning> = fc.record(fields);

/** Pairs that differ in few fields, because their keys are the most likely to be equal by mistake. */
const pairs = fc
  .record({
    one: meanings,
    changed: fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(...Object.keys(fields)).map((field) => [field]) },
      { weight: 1, arbitrary: fc.subarray(Object.keys(fields)) },
    ),
    other: meanings,
  })
  .map(({ one, other, changed }) => {
    const taken = Object.entries(other).filter(([field]) => changed.includes(field));
    return [valid(one), valid({ ...one, ...Object.fromEntries(taken) })] as const;
  });

/** Makes a meaning valid: `from` is not after `to`, the page begins within the range, and only weeks have a start. */
function valid({ from, to, page, weekStart, ...same }: Meaning): Meaning {
  const [first, last] = from <= to ? [from, to] : [to, from];
  const [least, most] = [first / 1_000_000n, last / 1_000_000n];
  const within = page === undefined ? page : page < least ? least : page > most ? most : page;
  const isWeek = same.granularity === Granularity.WEEK;
  return { ...same, from: first, to: last, page: within, weekStart: isWeek ? weekStart : Weekday.MONDAY };
}

/** Selects one of the ways to write a request. */
const spellings = fc.record({
  zone: fc.nat(),
  /** Fractions of a microsecond, which the service discards, for `from` and `to`. They must not change the order. */
  extraNanos: fc
    .tuple(fc.nat(999), fc.nat(999))
    .map(([one, other]) => [Math.min(one, other), Math.max(one, other)] as const),
  /** A page_size that means 10,000. */
  pageSize: fc.constantFrom(0, 10_000, 10_001, 2_147_483_647),
  /** A week_start that means Monday. */
  monday: fc.constantFrom(Weekday.UNSPECIFIED, Weekday.MONDAY),
  /** A week_start for other periods than weeks. */
  ignored: fc.constantFrom(Weekday.UNSPECIFIED, Weekday.MONDAY, Weekday.SUNDAY),
});
type Spelling = typeof spellings extends fc.Arbitrary<infer Value> ? Value : never;

/** Returns the key of a request with this meaning. */
function keyOf(meaning: Meaning, spelling: Spelling): string {
  const { page, pageSize, timeZone, from, to, ...same } = meaning;
  const names = zoneNames[timeZone];
  const message = create(GetSummaryRequestSchema, {
    ...same,
    from: timestamp(from, spelling.extraNanos[0]),
    to: timestamp(to, spelling.extraNanos[1]),
    timeZone: names[spelling.zone % names.length] ?? timeZone,
    pageSize: pageSize < 10_000 ? pageSize : spelling.pageSize,
    weekStart: writtenWeekStart(meaning, spelling),
  });
  const pageToken = nextPageToken(summaryRequest(message), page);
  return canonicalKey(summaryRequest({ ...message, pageToken }));
}

function writtenWeekStart({ granularity, weekStart }: Meaning, { monday, ignored }: Spelling): Weekday {
  if (granularity !== Granularity.WEEK) return ignored;
  return weekStart === Weekday.MONDAY ? monday : weekStart;
}

function timestamp(micros: bigint, extraNanos: number) {
  return { seconds: micros / 1_000_000n, nanos: Number(micros % 1_000_000n) * 1000 + extraNanos };
}

test("requests have equal keys if and only if they have the same meaning, however they are written", () => {
  fc.assert(
    fc.property(pairs, spellings, spellings, ([one, other], oneSpelling, otherSpelling) => {
      expect(keyOf(one, oneSpelling) === keyOf(other, otherSpelling)).toBe(isDeepStrictEqual(one, other));
    }),
    { numRuns: 2_000 * effort, seed },
  );
});

test("requests for hours have equal keys, whatever their day_start and week_start are", () => {
  const keys = [
    {},
    { dayStart: 15 },
    { dayStart: 1425 },
    { weekStart: Weekday.MONDAY },
    { dayStart: 240, weekStart: Weekday.SUNDAY },
  ].map((shift) => {
    const instant = timestamp(1_709_208_000_000_000n, 0);
    const hours = { userId: "learner", from: instant, to: instant, granularity: Granularity.HOUR };
    return canonicalKey(summaryRequest(create(GetSummaryRequestSchema, { ...hours, ...shift })));
  });
  expect(new Set(keys).size).toBe(1);
});
