import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import { expect } from "vitest";
import type { LearningLogClient } from "../support/clients.ts";
import type { Random } from "../support/random.ts";
import { report } from "./fault-run.ts";
import { createRequest, Ledger } from "./ledger.ts";

interface LoadOptions {
  readonly ledger: Ledger;
  readonly random: Random;
  /** Whether a caller whose call failed makes the next one all the same, after a pause. */
  readonly goesOn: boolean;
  /** How many callers send single entries. */
  readonly singleCallers?: number;
  /** How long each caller rests between two calls, in milliseconds. */
  readonly restMs?: number;
}

/** What callers met, beside answers. */
export interface LoadOutcome {
  readonly failures: readonly ConnectError[];
  /** The longest that a caller waited for an answer or an error, in milliseconds. */
  readonly slowestMs: number;
}

/** More than this many are not begun, however fast they are answered. */
const maxSendings = 10_000;

const usualSingleCallers = 64;
const batchCallers = 2;
const callTimeoutMs = 20_000;
const pauseMs = 50;

/** Callers that write until they are stopped. */
export interface Load {
  /** Callers begin nothing new. Resolves when the last call has its answer or its error. */
  stop(): Promise<LoadOutcome>;
}

/** Starts calls of all three kinds that write, side by side. */
export function startLoad(client: LearningLogClient, options: LoadOptions): Load {
  const stopped = new AbortController();
  const outcome = runLoad(client, options, stopped.signal);
  return {
    stop() {
      stopped.abort();
      return outcome;
    },
  };
}

async function runLoad(
  client: LearningLogClient,
  options: LoadOptions,
  signal: AbortSignal,
): Promise<LoadOutcome> {
  const { ledger, random, goesOn, singleCallers = usualSingleCallers, restMs = 0 } = options;
  const failures: ConnectError[] = [];
  let slowestMs = 0;
  let begun = 0;

  await Promise.all([
    ...Array.from({ length: singleCallers }, () => repeat(callOnce)),
    ...Array.from({ length: batchCallers }, () => repeat(callBatch)),
    repeat(callStream),
  ]);
  return { failures, slowestMs };

  function goesOnNow() {
    return !signal.aborted && begun < maxSendings;
  }

  async function repeat(call: () => Promise<void>) {
    while (goesOnNow()) {
      try {
        await call();
        if (restMs > 0) await sleep(restMs);
      } catch (error) {
        failures.push(ConnectError.from(error));
        if (!goesOn) return;
        await sleep(pauseMs);
      }
    }
  }

  function begin(kind: "single" | "batch", size: number) {
    begun += 1;
    return ledger.begin(kind, size);
  }

  async function timed<Answer>(answer: Promise<Answer>): Promise<Answer> {
    const start = performance.now();
    try {
      return await answer;
    } finally {
      slowestMs = Math.max(slowestMs, performance.now() - start);
    }
  }

  async function callOnce() {
    const sending = begin("single", 1);
    const [request = {}] = sending.entries.map(createRequest);
    await timed(client.createEntry(request, { timeoutMs: callTimeoutMs }));
    sending.acknowledged = true;
  }

  async function callBatch() {
    const sending = begin("batch", random.integer(2, 200));
    const entries = sending.entries.map(createRequest);
    await timed(client.batchCreateEntries({ entries }, { timeoutMs: callTimeoutMs }));
    sending.acknowledged = true;
    await sleep(random.integer(0, 20));
  }

  /** A batch follows when the last one is acknowledged, or a little before. */
  async function callStream() {
    const sent: ReturnType<typeof begin>[] = [];
    const caller = new AbortController();
    const until = performance.now() + callTimeoutMs / 2;
    let proceed = Promise.withResolvers<void>();
    async function* batches() {
      while (goesOnNow() && !caller.signal.aborted && performance.now() < until && sent.length < 500) {
        const sending = begin("batch", random.integer(2, 200));
        sent.push(sending);
        yield { entries: sending.entries.map(createRequest) };
        if (sent.filter(({ acknowledged }) => !acknowledged).length > 1) await proceed.promise;
      }
    }
    let acknowledgements = 0;
    const options = { timeoutMs: callTimeoutMs, signal: caller.signal };
    const answers = client.importEntries(batches(), options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const { done } = await timed(answers.next());
        if (done) break;
        const sending = sent[acknowledgements];
        if (sending === undefined) throw new Error("a batch was acknowledged that was not sent");
        sending.acknowledged = true;
        acknowledgements += 1;
        if (restMs > 0) await sleep(restMs);
        proceed.resolve();
        proceed = Promise.withResolvers<void>();
      }
    } finally {
      // After a failure, the batches that were still to come would keep the stream open.
      caller.abort();
      proceed.resolve();
    }
  }
}

/** Other learners write meanwhile; all of it must be there in the end. */
export async function underLoad(
  client: LearningLogClient,
  random: Random,
  body: () => Promise<void>,
): Promise<void> {
  const ledger = new Ledger(random);
  const load = startLoad(client, { ledger, random, goesOn: true, singleCallers: 8, restMs: 200 });
  try {
    await body();
  } finally {
    void load.stop();
  }
  const { failures, slowestMs } = await load.stop();
  report(`  other learners: ${ledger.acknowledgedEntries} entries, ${Math.round(slowestMs)} ms at most`);
  expect(failures.map(String)).toEqual([]);
  expect(ledger.unacknowledgedEntries).toBe(0);
}

/** Records an entry of now. */
export async function write(client: LearningLogClient, userId: string): Promise<void> {
  await client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }, { timeoutMs: 60_000 });
}
