import fc from "fast-check";
import type { Instance } from "./history.ts";
import type { Command, EntryToSend, Step } from "./interleaving.ts";
import { recentTimes, type Theme, timesLongAgo } from "./theme.ts";

const instances = ["a", "b"] as const satisfies readonly Instance[];

/** Generates the steps for one learner. Steps refer to a question by its index in the result of `questions.ts`. */
export function steps(theme: Theme): fc.Arbitrary<Step[]> {
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

/**
 * Generates the steps that are most likely to reveal an error of the memo: an answer is stored, an entry changes it,
 * and the same question is asked again.
 */
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
        // After the cut, no notification arrives, and at first the instances have not detected that.
        [read, { does: "cut notifications" }, { ...create, instance: reader }, read],
        [create, read, { does: "cut notifications" }, { does: "delete all", instance: other }, read],
        [{ does: "at once", commands: [read, create].map(later) }, read],
      );
    });
}

/** Begins each command while the previous one is probably still in progress. */
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

function sent(theme: Theme): fc.Arbitrary<EntryToSend> {
  return fc.record({
    time: fc.oneof(timesLongAgo(theme), recentTimes),
    wordCount: fc.nat(1000),
    again: fc.option(fc.nat(20), { nil: undefined, freq: 5 }),
  });
}
