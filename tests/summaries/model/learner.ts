import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect } from "vitest";
import { leaseMs } from "../../../src/database/notifications.ts";
import { timestampFromMicros } from "../../../src/database/timestamps.ts";
import type { DatabaseClock } from "../../support/database-clock.ts";
import type { TwoServices } from "../../support/test-service.ts";
import { type AnsweredPeriod, askForPages, withAverages } from "../ask.ts";
import { type OracleEntry, type OracleQuestion, summarize } from "../oracle.ts";
import { History, type Instance, type Log, type QuestionTimes } from "./history.ts";
import type {
  Command,
  EntryToSend,
  Interleaving,
  RecordCommand,
  RelativeQuestion,
  Step,
  Time,
} from "./interleaving.ts";
import type { NotificationGaps } from "./notification-gaps.ts";

/** The services, the clock and the gaps that all learners share. */
export interface World {
  readonly services: TwoServices;
  readonly clock: DatabaseClock;
  readonly gaps: NotificationGaps;
}

/** A question whose range is fixed. */
type Question = OracleQuestion & { readonly pageSize: number };

type SentEntry = OracleEntry & { readonly requestId: string };

/**
 * Executes an interleaving for a new learner.
 *
 * @throws if an answer is not a recount of the log
 */
export async function runInterleaving(world: World, { questions, steps }: Interleaving): Promise<void> {
  const learner = new Learner(world, questions);
  for (const step of steps) await learner.take(step);
  await learner.settle();
}

class Learner {
  readonly #world: World;
  readonly #userId = randomUUID();
  readonly #questions: readonly Question[];
  readonly #history = new History();
  readonly #sent: SentEntry[] = [];

  constructor(world: World, questions: readonly RelativeQuestion[]) {
    this.#world = world;
    this.#questions = questions.map((asked) => ({
      ...asked,
      from: this.#instantOf(asked.from),
      to: this.#instantOf(asked.to),
    }));
  }

  async take(step: Step): Promise<void> {
    switch (step.does) {
      case "at once":
        await Promise.all(
          step.commands.map(async ({ afterMs, command }) => {
            await sleep(afterMs);
            await this.#do(command);
          }),
        );
        break;
      case "cut notifications":
        await this.#world.gaps.cut();
        break;
      case "wait":
        await sleep(leaseMs);
        break;
      default:
        await this.#do(step);
    }
  }

  /** Waits until both instances have received all notifications, and checks that all their answers are correct. */
  async settle(): Promise<void> {
    await this.#world.gaps.closed();
    await sleep(leaseMs);
    for (const question of this.#questions) {
      await Promise.all([this.#read("a", question), this.#read("b", question)]);
    }
  }

  async #do(command: Command): Promise<void> {
    switch (command.does) {
      case "read": {
        const question = this.#questions[command.question % this.#questions.length];
        if (question) await this.#read(command.instance, question);
        break;
      }
      case "delete":
        await this.#delete(command.instance, this.#sent[command.entry % this.#sent.length]?.requestId);
        break;
      case "delete all":
        await this.#deleteAll(command.instance);
        break;
      default:
        await this.#record(command.does, command.instance, command.entries);
    }
  }

  async #record(how: RecordCommand["does"], instance: Instance, sent: readonly EntryToSend[]): Promise<void> {
    const client = this.#world.services[instance];
    const known = new Set(this.#sent);
    const entries = sent.map((one) => this.#entryOf(one));
    const requests = entries.map(({ timestamp, ...entry }) => ({
      ...entry,
      userId: this.#userId,
      timestamp: timestampFromMicros(timestamp),
    }));
    // The new entries of a batch are recorded together. An entry that was sent before is a separate write, because it
    // may have been deleted meanwhile.
    const parts = [
      entries.filter((entry) => !known.has(entry)),
      ...entries.filter((entry) => known.has(entry)).map((entry) => [entry]),
    ].filter(({ length }) => length > 0);
    await this.#write(instance, false, parts.map(recording), async () => {
      if (how === "batch") await client.batchCreateEntries({ entries: requests });
      else if (how === "import") await readAll(client.importEntries(streamOf({ entries: requests })));
      else for (const request of requests) await unless(Code.AlreadyExists, client.createEntry(request));
    });
  }

  async #delete(instance: Instance, requestId: string | undefined): Promise<void> {
    if (requestId === undefined) return;
    const apply = (log: Log) => new Map([...log].filter(([id]) => id !== requestId));
    await this.#write(instance, true, [apply], () =>
      unless(Code.NotFound, this.#world.services[instance].deleteEntry({ requestId })),
    );
  }

  async #deleteAll(instance: Instance): Promise<void> {
    const userId = this.#userId;
    await this.#write(instance, true, [() => new Map()], () =>
      unless(Code.NotFound, this.#world.services[instance].deleteUserEntries({ userId })),
    );
  }

  #entryOf({ time, wordCount, again }: EntryToSend): SentEntry {
    const before = again === undefined ? undefined : this.#sent[again % this.#sent.length];
    if (before) return before;
    const entry = { requestId: randomUUID(), timestamp: this.#instantOf(time), wordCount };
    this.#sent.push(entry);
    return entry;
  }

  async #write(
    instance: Instance,
    isDeletion: boolean,
    changes: readonly ((log: Log) => Log)[],
    call: () => Promise<unknown>,
  ): Promise<void> {
    const writes = changes.map((change) => this.#history.begin(instance, isDeletion, change));
    await call();
    for (const markAnswered of writes) markAnswered();
  }

  async #read(instance: Instance, question: Question): Promise<void> {
    const { services, gaps } = this.#world;
    const { pageSize } = question;
    const asked = performance.now();
    const pages = await askForPages(services[instance], this.#userId, question, pageSize);
    const answered = performance.now();
    const times = { instance, asked, answered, isDeaf: await gaps.lastedSince(asked) };
    const possible = this.#possibleAnswers(times, question);
    const [only] = possible;
    if (only && possible.length === 1) {
      expect(pages.flat()).toEqual(only);
      expect(pages).toHaveLength(Math.max(1, Math.ceil(only.length / pageSize)));
    } else {
      // Each page may show another state of the log, so only the first one is compared.
      expect(possible.map((periods) => periods.slice(0, pageSize))).toContainEqual(pages[0]);
    }
  }

  #possibleAnswers(times: QuestionTimes, question: Question): AnsweredPeriod[][] {
    const answers: AnsweredPeriod[][] = [];
    for (const log of this.#history.possibleLogs(times)) {
      const answer = withAverages(summarize([...log.values()], question));
      if (!answers.some((other) => isDeepStrictEqual(other, answer))) answers.push(answer);
    }
    return answers;
  }

  #instantOf(time: Time): bigint {
    return "at" in time ? time.at : this.#world.clock.now() - time.ago;
  }
}

/** Returns a change that adds entries to the log. Entries that the log already has stay unchanged. */
function recording(entries: readonly SentEntry[]): (log: Log) => Log {
  const recorded = entries.map(({ requestId, ...entry }) => [requestId, entry] as const);
  return (log) => new Map([...recorded, ...log]);
}

async function unless(code: Code, call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => {
    if (ConnectError.from(error).code !== code) throw error;
  });
}

async function* streamOf<Message>(message: Message): AsyncIterable<Message> {
  yield message;
}

async function readAll(answers: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of answers);
}
