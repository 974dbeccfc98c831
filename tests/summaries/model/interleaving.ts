import fc from "fast-check";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { micros } from "../ask.ts";
import type { OracleQuestion } from "../oracle.ts";
import { transitionsOf } from "../zones.ts";
import type { Instance } from "./history.ts";

// What happens to one learner: drawn here, done by `learner.ts`.

/** An instant, in microseconds since 1970, or so many before the present. */
export type Time = { readonly at: bigint } | { readonly ago: bigint };

/** A question whose range may move with the present. */
export interface Asked extends Omit<OracleQuestion, "from" | "to"> {
  readonly from: Time;
  readonly to: Time;
  readonly pageSize: number;
}

/** An entry to record. */
export interface Sent {
  readonly time: Time;
  readonly wordCount: number;
  /** Which of those sent before to send again instead, if there are any. */
  readonly again: number | undefined;
}

/** Entries are sent: one, a batch of them, or a batch in a stream. */
export interface Recording {
  readonly does: "create" | "batch" | "import";
  readonly instance: Instance;
  readonly entries: readonly Sent[];
}

/** What one caller does. */
export type Command =
  | Recording
  /** The entry is one of those sent before. */
  | { readonly does: "delete"; readonly instance: Instance; readonly entry: number }
  | { readonly does: "delete all"; readonly instance: Instance }
  | { readonly does: "read"; readonly instance: Instance; readonly question: number };

/** What happens next: a command; several, each begun a little after the start; a cut; or nothing for a while. */
export type Step =
  | Command
  | { readonly does: "at once"; readonly commands: readonly { afterMs: number; command: Command }[] }
  | { readonly does: "cut notifications" }
  | { readonly does: "wait" };

/** All that happens to one learner, one step after another. */
export interface Interleaving {
  /** Asked again and again, so that the answers may come from memory. */
  readonly questions: readonly Asked[];
  readonly steps: readonly Step[];
}

// Zones of which all releases of the IANA database say the same, of the years below and of the present.
const timeZones = [
  ...["UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/St_Johns", "Asia/Kolkata"],
  ...["Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham"],
];
const start = "1985-01-01T00:00Z";
const end = "2021-01-01T00:00Z";

const second = 1_000_000n;
const hour = 3600n * second;
const periodLengths = new Map([
  [Granularity.HOUR, hour],
  [Granularity.DAY, 24n * hour],
  [Granularity.WEEK, 7n * 24n * hour],
  [Granularity.MONTH, 30n * 24n * hour],
  [Granularity.QUARTER, 91n * 24n * hour],
  [Granularity.YEAR, 365n * 24n * hour],
]);

const longerPeriods = new Map([
  [Granularity.HOUR, Granularity.DAY],
  [Granularity.DAY, Granularity.WEEK],
  [Granularity.WEEK, Granularity.MONTH],
  [Granularity.MONTH, Granularity.QUARTER],
  [Granularity.QUARTER, Granularity.YEAR],
]);

/** What the questions and entries of one learner have in common, so that they meet. */
interface Theme {
  readonly timeZone: string;
  readonly granularity: Granularity;
  /** Long ago. */
  readonly instant: bigint;
}

const themes: fc.Arbitrary<Theme> = fc
  .record({ timeZone: fc.constantFrom(...timeZones), granularity: fc.constantFrom(...periodLengths.keys()) })
  .chain((theme) => instants(theme.timeZone).map((instant) => ({ ...theme, instant })));

/** When the clock was changed; or, for zones where it was not, a leap day. */
function instants(timeZone: string): fc.Arbitrary<bigint> {
  const changes = transitionsOf(timeZone, Temporal.Instant.from(start), Temporal.Instant.from(end));
  return fc.constantFrom(
    micros("2000-02-29T12:00Z"),
    ...changes.map((change) => change.epochNanoseconds / 1000n),
  );
}

const instances = ["a", "b"] as const satisfies readonly Instance[];

export const interleavings: fc.Arbitrary<Interleaving> = themes.chain((theme) =>
  fc.record({ questions: questions(theme), steps: steps(theme) }),
);

function questions(theme: Theme): fc.Arbitrary<Asked[]> {
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

function steps(theme: Theme): fc.Arbitrary<Step[]> {
  const command = commands(theme);
  const step = fc.oneof(
    { weight: 6, arbitrary: command },
    { weight: 2, arbitrary: atOnce(command) },
    { weight: 1, arbitrary: fc.constantFrom<Step[]>({ does: "cut notifications" }, { does: "wait" }) },
  );
  const scene = fc.oneof(
    { weight: 4, arbitrary: step.map((only) => [only]) },
    { weight: 3, arbitrary: scenes(theme) },
  );
  return fc.array(scene, { minLength: 3, maxLength: 8 }).map((steps) => steps.flat());
}

function atOnce(command: fc.Arbitrary<Command>): fc.Arbitrary<Step> {
  const afterMs = fc.constantFrom(0, 0, 1, 3, 10);
  return fc
    .array(fc.record({ afterMs, command }), { minLength: 2, maxLength: 4 })
    .map((commands): Step => ({ does: "at once", commands }));
}

/** What a memo is most likely to get wrong: an answer is kept, an entry comes that changes it, the same is asked again. */
function scenes(theme: Theme): fc.Arbitrary<Step[]> {
  const questionAndTime = fc.oneof(
    fc.record({ question: fc.constantFrom(0, 1, 3), time: timesLongAgo(theme) }),
    fc.record({ question: fc.constant(2), time: recentTimes }),
  );
  return fc
    .record({
      reader: fc.constantFrom(...instances),
      writer: fc.constantFrom(...instances),
      questionAndTime,
      wordCount: fc.nat(1000),
    })
    .chain(({ reader, writer, questionAndTime: { question, time }, wordCount }) => {
      const read: Command = { does: "read", instance: reader, question };
      const other = reader === "a" ? "b" : "a";
      const entry = { time, wordCount, again: undefined };
      const create: Command = { does: "create", instance: writer, entries: [entry] };
      return fc.constantFrom<Step[][]>(
        [read, create, read],
        // Nothing is heard from the cut on, and for a moment nobody knows.
        [read, { does: "cut notifications" }, { ...create, instance: reader }, read],
        [create, read, { does: "cut notifications" }, { does: "delete all", instance: other }, read],
        [{ does: "at once", commands: [read, create].map(later) }, read],
      );
    });
}

/** The next one begins while the one before is likely to be under way. */
function later(command: Command, index: number) {
  return { afterMs: 10 * index, command };
}

function commands(theme: Theme): fc.Arbitrary<Command> {
  const instance = fc.constantFrom(...instances);
  const entry = sent(theme);
  const does = <Name extends Command["does"]>(name: Name) => fc.constant(name);
  return fc.oneof(
    { weight: 16, arbitrary: fc.record({ does: does("read"), instance, question: fc.nat(20) }) },
    { weight: 10, arbitrary: fc.record({ does: does("create"), instance, entries: fc.tuple(entry) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        does: fc.constantFrom("batch" as const, "import" as const),
        instance,
        entries: fc.array(entry, { minLength: 1, maxLength: 5 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ does: does("delete"), instance, entry: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ does: does("delete all"), instance }) },
  );
}

function sent(theme: Theme): fc.Arbitrary<Sent> {
  return fc.record({
    time: fc.oneof(timesLongAgo(theme), recentTimes),
    wordCount: fc.nat(1000),
    again: fc.option(fc.nat(20), { nil: undefined, freq: 5 }),
  });
}

function timesLongAgo({ granularity, instant }: Theme): fc.Arbitrary<Time> {
  const span = 3n * (periodLengths.get(granularity) ?? 0n);
  const nudges = fc.oneof(fc.constantFrom(0n, -1n, 1n, hour, -hour), fc.bigInt({ min: -span, max: span }));
  return nudges.map((nudge) => ({ at: instant + nudge }));
}

const recentTimes: fc.Arbitrary<Time> = fc
  .constantFrom(
    // At the present time, and so told to nobody; ...
    ...[-60n, 0n, 10n, 25n, 27n, 29n],
    // ... and late.
    ...[40n, 100n, 7200n],
  )
  .map((seconds) => ({ ago: seconds * second }));

/** That value, and now and then another one. */
function mostly<Value>(value: Value, others: fc.Arbitrary<Value>): fc.Arbitrary<Value> {
  return fc.oneof({ weight: 3, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: others });
}
