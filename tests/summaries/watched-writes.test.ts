import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { expect, onTestFinished, test, vi } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { learnerKey } from "../../src/changes/learner-key.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { SummaryFeeds } from "../../src/summaries/summary-feeds.ts";
import { watchSummary } from "../../src/summaries/watch-summary.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { createWritePath } from "../support/write-path.ts";
import { summaryRequestOf } from "./ask.ts";
import { beginSlowWrite } from "./slow-write.ts";

// A watch receives every write, even if the writing instance could not know of the watch. All entries here are current,
// so that they are announced only because of watches.

const database = useTestDatabase();
const { connections: pool } = database;
const never = new AbortController();
/** Short, for tests in which an instance fails to repeat its watches; in milliseconds. */
const fastRepeatMs = 200;

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 });

/**
 * Creates an instance without its HTTP server.
 *
 * @param databaseUrl the database from which it receives notifications
 * @param repeatMs the interval at which it repeats its watches; by default longer than any test
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

/** Begins to watch today and tomorrow. Resolves after the first answer, which has no entries. */
async function watch({ changes }: Instance, userId: string) {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const now = BigInt(Date.now()) * 1000n;
  const days = { timeZone: "UTC", granularity: Granularity.DAY, from: now, to: now + 86_400_000_000n };
  const message = create(GetSummaryRequestSchema, summaryRequestOf(userId, days));
  const counts: bigint[] = [];
  // Reads each answer as soon as it arrives, as a caller does.
  const following = (async () => {
    const pools = { small: pool, large: pool };
    const calendars = new Calendars();
    const feeds = new SummaryFeeds({
      pools,
      calendars,
      changes,
      draining: never.signal,
      keepaliveMs: 60_000,
    });
    for await (const { periods } of watchSummary({ feeds }, message, controller))
      counts.push(...periods.map(({ entryCount }) => entryCount));
  })();
  following.catch(() => {});
  const settled = Promise.withResolvers<void>();
  changes.watched.add(learnerKey(userId), { onGap: settled.resolve });
  await eventually(() => expect(counts).toEqual([0n, 0n]));
  return {
    /** Resolves when no write from before the watch can be missed any more: the watch now reads everything again. */
    settled: settled.promise,
    /** Resolves after an answer with this number of entries. */
    received: (entries: bigint) => eventually(() => expect(counts.at(-1)).toBe(entries)),
  };
}

test("a watch receives a write that has waited for a lock since before the watch began", async () => {
  const [reader, writer] = [startInstance(), startInstance()];
  await Promise.all([reader.start(), writer.start()]);
  const userId = randomUUID();
  const lock = await lockWrites(database);
  onTestFinished(() => lock.release());
  const written = writer.record(userId);
  await lock.waitForBlocked(1);
  const watching = await watch(reader, userId);
  await watching.settled;
  // By then, the watch has read everything again. From now on, it reads again only if a write is announced.
  await sleep(1_000);
  await lock.release();
  await written;
  await watching.received(1n);
});

test("a watch receives a write that began before the watch and commits seconds later", async () => {
  const reader = startInstance();
  await reader.start();
  const userId = randomUUID();
  // An instance that does not know of the watch announces nothing.
  const slow = await beginSlowWrite(database, userId, BigInt(Date.now()) * 1000n);
  const watching = await watch(reader, userId);
  await sleep(3_000);
  await slow.query("COMMIT");
  await watching.received(1n);
});

test("a watch receives a write that was made while the watching instance could not repeat its watches", async () => {
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
  await watching.received(1n);
});

test("a watch receives a write that was made while the watching instance could not publish the watch", async () => {
  const { proxy, url } = await proxyTo(database.url);
  const [reader, writer] = [startInstance({ databaseUrl: url }), startInstance()];
  await Promise.all([reader.start(), writer.start()]);
  const userId = randomUUID();
  proxy.pause();
  const watching = await watch(reader, userId);
  await writer.record(userId);
  proxy.resume();
  await watching.received(1n);
});

test("a watch receives a write of a new instance that got the list of watches too late", async () => {
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
  await watching.received(1n);
});

test("a watch receives writes while its instance receives no notifications", async () => {
  const [reader, writer] = [startInstance(), startInstance()];
  await writer.start();
  const userId = randomUUID();
  const watching = await watch(reader, userId);
  await writer.record(userId);
  await watching.received(1n);
  await writer.record(userId);
  await watching.received(2n);
});
