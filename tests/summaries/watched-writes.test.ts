import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test, vi } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { learnerKey } from "../../src/changes/learner-key.ts";
import { SummaryFeeds } from "../../src/summaries/summary-feeds.ts";
import { watchSummary } from "../../src/summaries/watch-summary.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { createWritePath } from "../support/write-path.ts";
import { summaryRequestOf } from "./ask.ts";
import { beginSlowWrite } from "./slow-write.ts";

// Whoever watches learns of every write, even if the instance that wrote could not know of the watch. All writes here are
// of the present, so that they are announced for the sake of watches only.

const database = useTestDatabase();
const { connections: pool } = database;
const never = new AbortController();
/** For tests of what happens when instances do not repeat whom they watch. */
const fastRepeatMs = 200;

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 });

/**
 * An instance without the port in front of it.
 *
 * @param databaseUrl where its notifications come from
 * @param repeatMs so long that no test sees it, by default
 */
function startInstance({ databaseUrl = database.url, repeatMs = 60_000 } = {}) {
  const { writer, changes, notifications } = createWritePath({
    pool,
    databaseUrl,
    limits: { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 10_000 },
    recentEntries: 0,
    repeatWatchesMs: repeatMs,
    log: createLog("silent"),
  });
  onTestFinished(async () => {
    changes.watched.close();
    await notifications.close();
  });
  const isWatched = (userId: string) => {
    const { userIds, asOf } = changes.watched.filterWatched([userId]);
    return asOf === undefined || userIds.length > 0;
  };
  return {
    changes,
    notifications,
    isWatched,
    async start() {
      notifications.start();
      await eventually(() => expect(isWatched(randomUUID())).toBe(false));
    },
    async record(userId: string): Promise<void> {
      const timestamp = BigInt(Date.now()) * 1000n;
      const entry = { requestId: randomUUID(), userId, wordCount: 1, timestamp, hasTimestamp: true };
      await writer.record(entry, never);
    },
  };
}

type Instance = ReturnType<typeof startInstance>;

/** Begins to watch today and tomorrow, and resolves when the first answer is there, which has no entries. */
async function watch({ changes }: Instance, userId: string) {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const now = BigInt(Date.now()) * 1000n;
  const days = { timeZone: "UTC", granularity: Granularity.DAY, from: now, to: now + 86_400_000_000n };
  const message = create(GetSummaryRequestSchema, summaryRequestOf(userId, days));
  const counts: bigint[] = [];
  // A caller takes each answer as it comes; else a later reading could make up for an earlier one.
  const following = (async () => {
    const pools = { small: pool, large: pool };
    const feeds = new SummaryFeeds({ pools, changes, draining: never.signal, heartbeatMs: 60_000 });
    for await (const { periods } of watchSummary({ feeds }, message, controller))
      counts.push(...periods.map(({ entryCount }) => entryCount));
  })();
  following.catch(() => {});
  const settled = Promise.withResolvers<void>();
  changes.watched.add(learnerKey(userId), { onGap: settled.resolve });
  await eventually(() => expect(counts).toEqual([0n, 0n]));
  return {
    /** Resolves when the watch has been told, and reads again because of that. */
    settled: settled.promise,
    /** Resolves when an answer with so many entries has come. */
    told: (entries: bigint) => eventually(() => expect(counts.at(-1)).toBe(entries)),
  };
}

test("a write that has waited for a lock since before the watch began arrives", async () => {
  const [reader, writer] = [startInstance(), startInstance()];
  await Promise.all([reader.start(), writer.start()]);
  const userId = randomUUID();
  const lock = await lockWrites(database);
  onTestFinished(() => lock.release());
  const written = writer.record(userId);
  await lock.waitForBlocked(1);
  const watching = await watch(reader, userId);
  await watching.settled;
  // By then it has read again, and nothing makes it do so but news of the write.
  await sleep(1_000);
  await lock.release();
  await written;
  await watching.told(1n);
});

test("a write that had begun before the watch, and commits seconds later, arrives", async () => {
  const reader = startInstance();
  await reader.start();
  const userId = randomUUID();
  // An instance that has not heard of the watch announces nothing.
  const slow = await beginSlowWrite(database, userId, BigInt(Date.now()) * 1000n);
  const watching = await watch(reader, userId);
  await sleep(3_000);
  await slow.query("COMMIT");
  await watching.told(1n);
});

test("a write arrives that was made while the instance could not repeat whom it watches", async () => {
  const { proxy, url } = await proxyTo(database.url);
  const reader = startInstance({ databaseUrl: url, repeatMs: fastRepeatMs });
  const writer = startInstance({ repeatMs: fastRepeatMs });
  await Promise.all([reader.start(), writer.start()]);
  const userId = randomUUID();
  const watching = await watch(reader, userId);
  await watching.settled;
  expect(writer.isWatched(userId)).toBe(true);
  proxy.pause();
  await eventually(() => expect(writer.isWatched(userId)).toBe(false));
  await writer.record(userId);
  proxy.resume();
  await watching.told(1n);
});

test("a write arrives that was made while the instance could not tell that it begins to watch", async () => {
  const { proxy, url } = await proxyTo(database.url);
  const [reader, writer] = [startInstance({ databaseUrl: url }), startInstance()];
  await Promise.all([reader.start(), writer.start()]);
  const userId = randomUUID();
  proxy.pause();
  const watching = await watch(reader, userId);
  await writer.record(userId);
  proxy.resume();
  await watching.told(1n);
});

test("a write of a new instance arrives, to which the instance that watches answers too late", async () => {
  const { proxy, url } = await proxyTo(database.url);
  const reader = startInstance({ databaseUrl: url });
  await reader.start();
  const userId = randomUUID();
  const watching = await watch(reader, userId);
  await watching.settled;
  proxy.pause();
  const writer = startInstance();
  await writer.start();
  expect(writer.isWatched(userId)).toBe(false);
  await writer.record(userId);
  proxy.resume();
  await watching.told(1n);
});

test("a write arrives at an instance that hears nothing from the database", async () => {
  const [reader, writer] = [startInstance(), startInstance()];
  await writer.start();
  const userId = randomUUID();
  const watching = await watch(reader, userId);
  await writer.record(userId);
  await watching.told(1n);
  await writer.record(userId);
  await watching.told(2n);
});
