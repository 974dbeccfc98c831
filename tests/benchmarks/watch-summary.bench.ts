import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { Benchmark, Setting } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { GrpcClient } from "./harness/grpc-client.ts";
import { percentile, runPacedLoad, warmUp } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";

const createEntryPath = "/dailyaggregator.v1.LearningLogService/CreateEntry";
const connections = 8;

/** The least rate of writes with watchers, relative to the rate without. */
const leastRate = 0.9;

/** How many watchers there are, and how much is written meanwhile. */
interface Audience {
  readonly watchers: number;
  /** The number of watched learners. Each has equally many watchers. */
  readonly learners: number;
  readonly writesPerSecond: number;
}

const audiences: readonly Audience[] = [
  { watchers: 1000, learners: 1000, writesPerSecond: 1000 },
  { watchers: 5000, learners: 50, writesPerSecond: 400 },
];

/** Writes of watched learners: how soon the watchers see them, and how much can be written meanwhile. */
export const watchSummaryBenchmark: Benchmark = {
  name: "watch-summary",
  async run(setting) {
    const figures: Figure[] = [];
    for (const audience of audiences) figures.push(...(await measure(setting, audience)));
    return figures;
  },
};

async function measure(setting: Setting, audience: Audience): Promise<Figure[]> {
  const { watchers: watcherCount, learners, writesPerSecond } = audience;
  await using database = await createDatabase(setting.server);
  await using service = await startService(setting, database);
  using client = new GrpcClient(service.url, connections);
  const watchClients = Array.from({ length: connections }, () =>
    createClient(LearningLogService, createGrpcTransport({ baseUrl: service.url })),
  );

  const write = async (learner?: Learner) => {
    const request = create(CreateEntryRequestSchema, {
      requestId: randomUUID(),
      userId: learner?.userId ?? `user-${Math.floor(Math.random() * learners)}`,
      wordCount: 1,
      timestamp: timestampNow(),
    });
    const { status, message } = await client.unary(createEntryPath, CreateEntryRequestSchema, request);
    if (status !== 0) throw new Error(`CreateEntry ended with status ${status}: ${message}`);
    for (const watcher of learner?.watchers ?? []) watcher.answered();
  };
  await warmUp(setting.effort.firstWarmUpSeconds, 64, () => write());
  const pace = { rate: writesPerSecond, ...setting.effort };
  const delays: number[] = [];
  const { watched, unwatched } = await takeTurns(setting, {
    unwatched: () => runPacedLoad(pace, () => write()),
    async watched() {
      await using audience = await startWatchers(watchClients, learners, watcherCount / learners, delays);
      const load = await runPacedLoad(pace, () => write(audience.any()));
      await audience.upToDate();
      return load;
    },
  });
  if (watched === undefined || unwatched === undefined) return [];
  const sorted = Float64Array.from(delays).sort();
  const p99Ms = percentile(sorted, 0.99);
  return [
    {
      name: `WatchSummary, ${watcherCount} watchers of ${learners} learners, from a write's answer to the message`,
      value: p99Ms,
      unit: "ms",
      p50Ms: percentile(sorted, 0.5),
      p99Ms,
      goal: { of: "value", atMost: 1500 },
    },
    {
      name: `CreateEntry, ${writesPerSecond} a second requested, ${watcherCount} watchers of ${learners} learners`,
      value: watched.rate,
      unit: "rows/s",
      p50Ms: watched.p50Ms,
      p99Ms: watched.p99Ms,
      rival: { name: "without watchers", value: unwatched.rate },
      goal: { of: "ratio", atLeast: leastRate },
    },
  ];
}

/** A learner, and all watchers of this learner. */
interface Learner {
  readonly userId: string;
  readonly watchers: readonly Watcher[];
}

/** A watcher, and the answered writes that it has not seen yet. */
class Watcher {
  readonly #delays: number[];
  /** When each unseen write was answered, in the order of the answers. */
  readonly #pending: number[] = [];
  /** How many writes were seen before they were answered. */
  #seenEarly = 0;

  /** @param delays receives, for each write, the time from its answer until it is seen, in milliseconds */
  constructor(delays: number[]) {
    this.#delays = delays;
  }

  get isUpToDate(): boolean {
    return this.#pending.length === 0;
  }

  /** Call it when a write is answered. */
  answered(): void {
    if (this.#seenEarly > 0) this.#seenEarly -= 1;
    else this.#pending.push(performance.now());
  }

  /** Call it when a message arrives. @param count the number of writes that it shows for the first time */
  see(count: number): void {
    const answered = this.#pending.splice(0, count);
    const now = performance.now();
    for (const time of answered) this.#delays.push(now - time);
    this.#seenEarly += count - answered.length;
    for (let early = answered.length; early < count; early += 1) this.#delays.push(0);
  }
}

interface Watchers extends AsyncDisposable {
  /** A random one of the watched learners. */
  any(): Learner;
  /** Resolves when all watchers have seen all writes. @throws if that takes more than about ten seconds */
  upToDate(): Promise<void>;
}

/** Resolves when all watchers have received their first summary. */
async function startWatchers(
  clients: readonly Client<typeof LearningLogService>[],
  learnerCount: number,
  watchersEach: number,
  delays: number[],
): Promise<Watchers> {
  const learners = Array.from({ length: learnerCount }, () => ({
    userId: randomUUID(),
    watchers: Array.from({ length: watchersEach }, () => new Watcher(delays)),
  }));
  const all = learners.flatMap(({ userId, watchers }) => watchers.map((watcher) => ({ userId, watcher })));
  const end = new AbortController();
  const starts = all.map(async ({ userId, watcher }, index) => {
    const started = Promise.withResolvers<void>();
    const client = clients[index % clients.length];
    if (client === undefined) throw new Error("a watcher needs a client");
    const running = watch(client, userId, watcher, end.signal, started.resolve);
    await Promise.race([started.promise, running]);
    return { running };
  });
  const runs = await Promise.all(starts);
  return {
    any() {
      // The index is always less than the number of learners.
      return learners[Math.floor(Math.random() * learnerCount)] as Learner;
    },
    async upToDate() {
      for (let wait = 0; all.some(({ watcher }) => !watcher.isUpToDate); wait += 1) {
        if (wait > 1000) throw new Error("watchers do not see all writes");
        await sleep(10);
      }
    },
    async [Symbol.asyncDispose]() {
      end.abort();
      await Promise.all(runs.map(({ running }) => running));
    },
  };
}

async function watch(
  client: Client<typeof LearningLogService>,
  userId: string,
  watcher: Watcher,
  signal: AbortSignal,
  onStart: () => void,
): Promise<void> {
  const now = timestampNow();
  const request = { userId, from: now, to: now, granularity: Granularity.DAY };
  let known = 0n;
  try {
    for await (const { periods } of client.watchSummary(request, { signal })) {
      onStart();
      const count = periods[0]?.entryCount ?? known;
      watcher.see(Number(count - known));
      known = count;
    }
  } catch (error) {
    if (ConnectError.from(error).code !== Code.Canceled) throw error;
  }
}
