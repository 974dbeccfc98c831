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
  /** Whether a caller pauses and continues after a failed call. Otherwise, it stops. */
  readonly continuesAfterFailure: boolean;
  /** The number of callers that send single entries. */
  readonly singleCallers?: number;
  /** The pause of a caller between two calls, in milliseconds. */
  readonly restMs?: number;
}

/** How the calls of a load ended. */
export interface LoadOutcome {
  readonly failures: readonly ConnectError[];
  /** The longest time until an answer or an error, in milliseconds. */
  readonly slowestMs: number;
}

/** The most calls and batches of a load, however fast they are answered. */
const maxSubmissions = 10_000;

const usualSingleCallers = 64;
const batchCallers = 2;
const callTimeoutMs = 20_000;
const pauseMs = 50;

/** Callers that write until they are stopped. */
export interface Load {
  /** Stops new calls. Resolves when all calls in flight have ended. */
  stop(): Promise<LoadOutcome>;
}

/** Starts concurrent callers of CreateEntry, BatchCreateEntries and ImportEntries. */
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
  const { ledger, random, continuesAfterFailure, singleCallers = usualSingleCallers, restMs = 0 } = options;
  const failures: ConnectError[] = [];
  let slowestMs = 0;
  let begun = 0;

  await Promise.all([
    ...Array.from({ length: singleCallers }, () => repeat(callOnce)),
    ...Array.from({ length: batchCallers }, () => repeat(callBatch)),
    repeat(callStream),
  ]);
  return { failures, slowestMs };

  function mayBegin() {
    return !signal.aborted && begun < maxSubmissions;
  }

  async function repeat(call: () => Promise<void>) {
    while (mayBegin()) {
      try {
        await call();
        if (restMs > 0) await sleep(restMs);
      } catch (error) {
        failures.push(ConnectError.from(error));
        if (!continuesAfterFailure) return;
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
    const submission = begin("single", 1);
    const [request = {}] = submission.entries.map(createRequest);
    await timed(client.createEntry(request, { timeoutMs: callTimeoutMs }));
    submission.acknowledged = true;
  }

  async function callBatch() {
    const submission = begin("batch", random.integer(2, 200));
    const entries = submission.entries.map(createRequest);
    await timed(client.batchCreateEntries({ entries }, { timeoutMs: callTimeoutMs }));
    submission.acknowledged = true;
    await sleep(random.integer(0, 20));
  }

  /** Sends batches over a stream. At most two of them are unacknowledged at a time. */
  async function callStream() {
    const sent: ReturnType<typeof begin>[] = [];
    const caller = new AbortController();
    const until = performance.now() + callTimeoutMs / 2;
    let proceed = Promise.withResolvers<void>();
    async function* batches() {
      while (mayBegin() && !caller.signal.aborted && performance.now() < until && sent.length < 500) {
        const submission = begin("batch", random.integer(2, 200));
        sent.push(submission);
        yield { entries: submission.entries.map(createRequest) };
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
        const submission = sent[acknowledgements];
        if (submission === undefined) throw new Error("a batch was acknowledged that was not sent");
        submission.acknowledged = true;
        acknowledgements += 1;
        if (restMs > 0) await sleep(restMs);
        proceed.resolve();
        proceed = Promise.withResolvers<void>();
      }
    } finally {
      // After a failure, a generator that waits for acknowledgements would keep the stream open.
      caller.abort();
      proceed.resolve();
    }
  }
}

/** Runs `body` while other learners write. All of their writes must succeed. */
export async function underLoad(
  client: LearningLogClient,
  random: Random,
  body: () => Promise<void>,
): Promise<void> {
  const ledger = new Ledger(random);
  const load = startLoad(client, {
    ledger,
    random,
    continuesAfterFailure: true,
    singleCallers: 8,
    restMs: 200,
  });
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

/** Records an entry with the current time. */
export async function write(client: LearningLogClient, userId: string): Promise<void> {
  await client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }, { timeoutMs: 60_000 });
}
