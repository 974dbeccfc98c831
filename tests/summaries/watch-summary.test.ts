import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import {
  GetSummaryRequestSchema,
  Granularity,
  type PeriodSummary,
  type WatchSummaryResponse,
  Weekday,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { changesChannel } from "../../src/changes/learner-changes.ts";
import { learnerKey } from "../../src/changes/learner-key.ts";
import { timestampFromMicros } from "../../src/database/timestamps.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { SummaryFeeds } from "../../src/summaries/summary-feeds.ts";
import { watchSummary } from "../../src/summaries/watch-summary.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { type LearningLogClient, transports } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { micros } from "../support/micros.ts";
import { cutNotifications, waitForNotifications } from "../support/notification-links.ts";
import { lockTables } from "../support/table-locks.ts";
import { startOwnService, useTwoServices } from "../support/test-service.ts";
import { createWritePath } from "../support/write-path.ts";
import { answeredPeriod, askService, summaryRequestOf } from "./ask.ts";
import { listenTo } from "./listen.ts";
import type { OracleQuestion } from "./oracle.ts";

const services = useTwoServices();
const { database } = services;

const threeDays = {
  timeZone: "UTC",
  granularity: Granularity.DAY,
  from: micros("2024-05-01T12:00Z"),
  to: micros("2024-05-03T12:00Z"),
};
const firstDay = { seconds: 1_714_564_800n, nanos: 0 };
const secondDay = { seconds: 1_714_651_200n, nanos: 0 };

const newEntry = (userId: string, timestamp: { seconds: bigint; nanos: number }, wordCount = 1) => ({
  requestId: randomUUID() as string,
  userId,
  wordCount,
  timestamp,
});

/** Watches a summary until the test finishes. */
function watch(client: LearningLogClient, userId: string, question: OracleQuestion = threeDays) {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const request = summaryRequestOf(userId, question);
  const answers = client.watchSummary(request, { signal: controller.signal })[Symbol.asyncIterator]();
  return follow(answers);
}

/** Keeps a chart as a caller does: each received period replaces the period of the same name. */
function follow(answers: AsyncIterator<WatchSummaryResponse>) {
  const chart = new Map<string, ReturnType<typeof answeredPeriod>>();
  return {
    chart,
    /** Returns the periods of the next answer. */
    async next(): Promise<PeriodSummary[]> {
      const { done, value } = await answers.next();
      if (done) throw new Error("the answers ended");
      for (const period of value.periods.map(answeredPeriod)) chart.set(period.period, period);
      return value.periods;
    },
    /** Resolves when the chart has this number of words in total. */
    async total(words: bigint): Promise<void> {
      while ([...chart.values()].reduce((sum, { total }) => sum + total, 0n) !== words) await this.next();
    },
  };
}

describe("a change", () => {
  test.for([
    ["the same instance", "a"],
    ["the other instance", "b"],
  ] as const)("by %s arrives, and nothing else does", async ([, writer]) => {
    const userId = randomUUID();
    await services.a.createEntry(newEntry(userId, firstDay, 3));
    const watching = watch(services.a, userId);
    expect((await watching.next()).map(answeredPeriod)).toEqual(
      await askService(services.a, userId, threeDays),
    );
    await services[writer].createEntry(newEntry(randomUUID(), secondDay));
    await services[writer].createEntry(newEntry(userId, { ...secondDay, seconds: 1_700_000_000n }));
    await services[writer].createEntry(newEntry(userId, secondDay, 4));
    expect((await watching.next()).map(answeredPeriod)).toMatchObject([
      { period: "2024-05-02T00:00:00Z", total: 4n, count: 1n },
    ]);
  });

  test.for(["a", "b"] as const)("at the present time arrives from instance %s", async (writer) => {
    const userId = randomUUID();
    const now = BigInt(Date.now()) * 1000n;
    const watching = watch(services.a, userId, { ...threeDays, from: now, to: now + 86_400_000_000n });
    await watching.next();
    await services[writer].createEntry({ requestId: randomUUID(), userId, wordCount: 5 });
    await watching.total(5n);
    await services[writer].createEntry({ requestId: randomUUID(), userId, wordCount: 6 });
    await watching.total(11n);
  });

  test("by a batch over several days arrives", async () => {
    const userId = randomUUID();
    const watching = watch(services.a, userId);
    await watching.next();
    const entries = [newEntry(userId, firstDay, 1), newEntry(userId, secondDay, 2)];
    await services.b.batchCreateEntries({ entries });
    await watching.total(3n);
    expect([...watching.chart.values()]).toEqual(await askService(services.a, userId, threeDays));
  });

  test.for([
    ["one entry", ({ requestId }: { requestId: string }) => services.b.deleteEntry({ requestId })],
    ["all entries", ({ userId }: { userId: string }) => services.b.deleteUserEntries({ userId })],
  ] as const)(
    "by a deletion of %s arrives as zeros, even if empty periods are omitted",
    async ([, remove]) => {
      const entry = newEntry(randomUUID(), firstDay, 3);
      await services.a.createEntry(entry);
      const watching = watch(services.a, entry.userId, { ...threeDays, omitEmptyPeriods: true });
      expect(await watching.next()).toMatchObject([{ totalWordCount: 3n }]);
      await remove(entry);
      expect((await watching.next()).map(answeredPeriod)).toEqual([
        { period: "2024-05-01T00:00:00Z", total: 0n, count: 0n, average: 0 },
      ]);
    },
  );

  test("arrives in the day that day_start assigns it to", async () => {
    const userId = randomUUID();
    const watching = watch(services.a, userId, { ...threeDays, dayStart: 240 });
    const write = (time: string, wordCount: number) =>
      services.b.createEntry(newEntry(userId, timestampFromMicros(micros(time)), wordCount));
    await watching.next();
    // The first of each two is in the day before the range, or in the one after it.
    await write("2024-05-01T03:59:59.999999Z", 1);
    await write("2024-05-02T03:59:59.999999Z", 2);
    expect((await watching.next()).map(answeredPeriod)).toMatchObject([
      { period: "2024-05-01T04:00:00Z", total: 2n },
    ]);
    await write("2024-05-04T04:00Z", 4);
    await write("2024-05-04T03:59:59.999999Z", 8);
    expect((await watching.next()).map(answeredPeriod)).toMatchObject([
      { period: "2024-05-03T04:00:00Z", total: 8n },
    ]);
  });

  test("arrives with the changed moving averages of later periods", async () => {
    const userId = randomUUID();
    const question = { ...threeDays, movingAverageWindow: 2 };
    const watching = watch(services.a, userId, question);
    await watching.next();
    await services.b.createEntry(newEntry(userId, firstDay, 4));
    expect(await watching.next()).toMatchObject([{ movingAverage: 2 }, { movingAverage: 2 }]);
    expect([...watching.chart.values()]).toEqual(await askService(services.a, userId, question));
  });

  test("before `from` in the first period, or after `to` in the last period, arrives", async () => {
    const userId = randomUUID();
    const watching = watch(services.a, userId);
    await watching.next();
    await services.b.createEntry(newEntry(userId, { seconds: firstDay.seconds - 43_200n, nanos: 0 }, 1));
    await watching.total(1n);
    await services.b.createEntry(
      newEntry(userId, { seconds: firstDay.seconds + 3n * 86_400n - 43_201n, nanos: 0 }, 2),
    );
    await watching.total(3n);
  });
});

test("a watch of more than 10,000 periods is rejected, even if empty periods are omitted", async () => {
  const hours = {
    ...threeDays,
    granularity: Granularity.HOUR,
    to: threeDays.from + 10_000n * 3_600_000_000n,
  };
  for (const omitEmptyPeriods of [false, true]) {
    const error = await failureOf(watch(services.a, randomUUID(), { ...hours, omitEmptyPeriods }).next());
    expect({ code: error.code, fields: violatedFields(error) }).toEqual({
      code: Code.InvalidArgument,
      fields: ["to"],
    });
  }
});

test("a watch receives writes that were made while the connections for notifications were broken", async () => {
  const userId = randomUUID();
  await waitForNotifications(database, 2);
  const watching = watch(services.a, userId);
  await watching.next();
  await cutNotifications(database);
  await services.b.createEntry(newEntry(userId, firstDay, 1));
  await watching.total(1n);
  await waitForNotifications(database, 2);
  await services.b.createEntry(newEntry(userId, secondDay, 2));
  await watching.total(3n);
});

test.for(Object.entries(transports))("a watch works with %s", async ([, createTransport]) => {
  const service = await startOwnService(database.url);
  const client = createClient(LearningLogService, createTransport(service.url));
  const userId = randomUUID();
  const watching = watch(client, userId);
  expect(await watching.next()).toHaveLength(3);
  await services.b.createEntry(newEntry(userId, firstDay, 7));
  await watching.total(7n);
  // When the service drains, the error asks the caller to call again.
  const [error] = await Promise.all([failureOf(watching.next()), service.stop()]);
  expect(error.code).toBe(Code.Unavailable);
  expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
});

// These tests use an instance without its HTTP server, created as in `src/service.ts`.
describe("without the HTTP server,", () => {
  const repeatMs = 100;
  const { connections: pool } = database;
  const { writer, changes, notifications } = createWritePath({
    pool,
    databaseUrl: database.url,
    limits: { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 10_000 },
    recentEntries: 0,
    repeatWatchesMs: repeatMs,
    log: createLog("silent"),
  });
  beforeAll(() => notifications.start());
  afterAll(async () => {
    changes.watched.close();
    await notifications.close();
  });

  const never = new AbortController();
  const record = (userId: string, timestamp: bigint) =>
    writer.record({ requestId: randomUUID(), userId, wordCount: 1, timestamp, hasTimestamp: true }, never);
  const nowMicros = () => BigInt(Date.now()) * 1000n;

  const pools = { small: pool, large: pool };
  const calendars = new Calendars();
  /** @param keepaliveMs by default longer than any test */
  const newFeeds = (keepaliveMs = 60_000) =>
    new SummaryFeeds({ pools, calendars, changes, draining: never.signal, keepaliveMs });

  function watchInside(userId: string, feeds = newFeeds(), question: OracleQuestion = threeDays) {
    const controller = new AbortController();
    onTestFinished(() => controller.abort());
    const message = create(GetSummaryRequestSchema, summaryRequestOf(userId, question));
    const answers = watchSummary({ feeds }, message, controller);
    return { controller, ...follow(answers[Symbol.asyncIterator]()) };
  }

  test("a slow reader gets the newest state in one answer, and no queue of older states", async () => {
    const userId = randomUUID();
    const watching = watchInside(userId, newFeeds(500));
    await watching.next();
    for (let day = 0; day < 3; day += 1) {
      for (let round = 0; round < 2; round += 1) {
        await record(userId, threeDays.from + BigInt(day) * 86_400_000_000n);
        // Longer than the pause during which changes are gathered.
        await sleep(250);
      }
    }
    expect(await watching.next()).toMatchObject(Array(3).fill({ entryCount: 2n }));
    expect(await watching.next()).toEqual([]);
  });

  test("changes in quick succession share an answer", async () => {
    const userId = randomUUID();
    const watching = watchInside(userId);
    await watching.next();
    const beganAt = performance.now();
    let written = 0n;
    let answers = 0;
    const writing = (async () => {
      for (let isOver = false; !isOver; written += 1n) {
        // The last write is made after the time is over, so that one more answer arrives.
        isOver = performance.now() >= beganAt + 1_000;
        await record(userId, threeDays.from);
      }
    })();
    for (let received = 0n, isOver = false; !isOver || received < written; answers += 1) {
      const [period] = await watching.next();
      received = period?.entryCount ?? 0n;
      isOver = performance.now() >= beganAt + 1_000;
      if (isOver) await writing;
    }
    // At most one answer in 200 ms; a timer may fire a little early.
    expect(answers).toBeLessThanOrEqual((performance.now() - beganAt) / 190 + 2);
  });

  test("after each keepalive interval, an empty answer is sent, even if other days change all the time", async () => {
    const userId = randomUUID();
    const watching = watchInside(userId, newFeeds(300));
    await watching.next();
    expect(await watching.next()).toEqual([]);
    const writing = new AbortController();
    const written = (async () => {
      while (!writing.signal.aborted) {
        await record(userId, micros("2020-01-01T00:00Z"));
        await sleep(50);
      }
    })();
    onTestFinished(async () => {
      writing.abort();
      await written;
    });
    expect(await watching.next()).toEqual([]);
    expect(await watching.next()).toEqual([]);
  });

  test("after a learner's last watch ends, its feed is removed, and current writes are not announced", async () => {
    const payloads = await listenTo(database, changesChannel);
    const [userId, late] = [randomUUID(), randomUUID()];
    const isWatched = () => changes.watched.filterWatched([userId]).userIds.length > 0;
    // A new instance does not know the watches yet.
    await vi.waitFor(() => expect(changes.watched.filterWatched([]).asOf).toBeDefined(), { timeout: 20_000 });

    const feeds = newFeeds();
    const [one, other] = [watchInside(userId, feeds), watchInside(userId, feeds)];
    await Promise.all([one.next(), other.next()]);
    expect(isWatched()).toBe(true);
    await record(userId, nowMicros());
    await vi.waitFor(() => expect(payloads.join()).toContain(learnerKey(userId)), { timeout: 20_000 });

    one.controller.abort();
    await expect(one.next()).rejects.toThrow();
    await sleep(5 * repeatMs);
    expect(isWatched()).toBe(true);
    other.controller.abort();
    await expect(other.next()).rejects.toThrow();
    await vi.waitFor(() => expect(isWatched()).toBe(false), { timeout: 20_000 });
    expect(feeds.size).toBe(0);

    payloads.length = 0;
    await record(userId, nowMicros());
    await record(late, nowMicros() - 60_000_000n);
    await vi.waitFor(() => expect(payloads.join()).toContain(learnerKey(late)), { timeout: 20_000 });
    expect(payloads.join()).not.toContain(learnerKey(userId));
  });

  test("watches of the same days share one statement per change, even if their ranges differ", async () => {
    const userId = randomUUID();
    const feeds = newFeeds();
    let statements = 0;
    const count = () => {
      statements += 1;
    };
    database.pool.on("acquire", count);
    onTestFinished(() => void database.pool.off("acquire", count));
    const watchers = Array.from({ length: 50 }, (_, index) => {
      const later = BigInt(index) * 7_000_000n;
      const question = { ...threeDays, from: threeDays.from + later, to: threeDays.to - later };
      return watchInside(userId, feeds, question);
    });
    await Promise.all(watchers.map((watching) => watching.next()));
    expect(feeds.size).toBe(1);
    await record(userId, threeDays.from);
    await Promise.all(watchers.map((watching) => watching.total(1n)));
    // The whole summary once or twice, the change, the write, and a few statements that normalize the ranges.
    expect(statements).toBeLessThan(20);
  });

  test("watches of one learner with different periods, zones, starts or averages have separate summaries", async () => {
    const userId = randomUUID();
    const feeds = newFeeds();
    const questions = [
      threeDays,
      { ...threeDays, from: threeDays.from - 86_400_000_000n },
      { ...threeDays, to: threeDays.to + 86_400_000_000n },
      { ...threeDays, timeZone: "Europe/Berlin" },
      { ...threeDays, granularity: Granularity.HOUR },
      { ...threeDays, movingAverageWindow: 7 },
      { ...threeDays, omitEmptyPeriods: true },
      { ...threeDays, dayStart: 240 },
      { ...threeDays, granularity: Granularity.WEEK },
      { ...threeDays, granularity: Granularity.WEEK, weekStart: Weekday.THURSDAY },
    ];
    const watchers = questions.map((question) => watchInside(userId, feeds, question));
    const lengths = await Promise.all(watchers.map(async (watching) => (await watching.next()).length));
    expect({ lengths, feeds: feeds.size }).toEqual({
      lengths: [3, 4, 4, 3, 49, 3, 0, 3, 1, 2],
      feeds: questions.length,
    });
  });

  test("watches of days that begin together and end apart have separate summaries", async () => {
    const userId = randomUUID();
    const feeds = newFeeds();
    // The clock jumps from 02:00 to 03:00, so all three days begin at 03:00. They end on 11 March, at their dayStart.
    const noonInNewYork = micros("2024-03-10T12:00-04:00");
    const day = { ...threeDays, timeZone: "America/New_York", from: noonInNewYork, to: noonInNewYork };
    await record(userId, noonInNewYork);
    await record(userId, micros("2024-03-11T02:30-04:00"));
    await record(userId, micros("2024-03-11T02:50-04:00"));
    const watchers = [120, 165, 180].map((dayStart) => watchInside(userId, feeds, { ...day, dayStart }));
    const answers = await Promise.all(watchers.map((watching) => watching.next()));
    const period = "2024-03-10T07:00:00Z";
    expect(answers.map((periods) => periods.map(answeredPeriod))).toMatchObject([
      [{ period, count: 1n }],
      [{ period, count: 2n }],
      [{ period, count: 3n }],
    ]);
  });

  test("a new watch of a watched summary gets all earlier writes of this instance", async () => {
    const userId = randomUUID();
    const feeds = newFeeds();
    const first = watchInside(userId, feeds);
    await first.next();
    for (let written = 1n; written <= 5n; written += 1n) {
      await record(userId, threeDays.from);
      expect(await watchInside(userId, feeds).next()).toMatchObject([{ entryCount: written }, {}, {}]);
    }
    expect(feeds.size).toBe(1);
    await first.total(5n);
  });

  test("a slow reader misses nothing that the other watchers of the same summary received", async () => {
    const userId = randomUUID();
    const feeds = newFeeds();
    const [slow, quick] = [watchInside(userId, feeds), watchInside(userId, feeds)];
    await Promise.all([slow.next(), quick.next()]);
    for (let day = 0n; day < 3n; day += 1n) {
      await record(userId, threeDays.from + day * 86_400_000_000n);
      await quick.total(day + 1n);
    }
    expect(await slow.next()).toMatchObject(Array(3).fill({ entryCount: 1n }));
  });

  test("a statement is cancelled when nobody waits for it any more", async () => {
    await using lock = await lockTables(database);
    const watching = watchInside(randomUUID());
    const answer = watching.next();
    await lock.waitForBlocked(1);
    watching.controller.abort();
    await expect(answer).rejects.toThrow();
    await lock.waitForBlocked(0);
  });

  test("a watch continues when the connection of its statement breaks", async () => {
    const userId = randomUUID();
    const watching = watchInside(userId);
    await watching.next();
    await record(userId, threeDays.from);
    await watching.total(1n);
    const secondChange = watching.total(2n);
    {
      await using lock = await lockTables(database);
      changes.notify(userId, threeDays);
      await lock.waitForBlocked(1);
      await database.pool.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      await lock.waitForBlocked(1);
    }
    await record(userId, threeDays.from);
    await secondChange;
  });

  test("without notifications, a watch reads the summary again before it sends an empty answer", async () => {
    const unstarted = createWritePath({
      pool,
      databaseUrl: database.url,
      limits: { maxStatements: 1, maxStatementRows: 1, maxPendingRows: 1 },
      recentEntries: 0,
      log: createLog("silent"),
    });
    onTestFinished(() => unstarted.changes.watched.close());
    const userId = randomUUID();
    const feeds = new SummaryFeeds({
      pools,
      calendars,
      changes: unstarted.changes,
      draining: never.signal,
      keepaliveMs: 300,
    });
    const watching = watchInside(userId, feeds);
    await watching.next();
    for (let written = 1n; written <= 3n; written += 1n) {
      await record(userId, threeDays.from);
      await watching.total(written);
    }
  });

  const oddDays = (timeZone: string, from: string, to: string) => ({
    ...threeDays,
    timeZone,
    from: micros(from),
    to: micros(to),
  });
  test.for([
    oddDays("America/St_Johns", "2010-11-07T00:00:30-02:30", "2010-11-06T23:30-03:30"),
    oddDays("America/St_Johns", "2010-11-06T23:10-03:30", "2010-11-06T23:30-03:30"),
    oddDays("America/Havana", "2026-10-29T12:00-04:00", "2026-11-01T00:30-05:00"),
    oddDays("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00"),
    oddDays("Africa/Monrovia", "1972-01-06T23:59:59-00:44:30", "1972-01-07T12:00Z"),
    {
      ...oddDays("Australia/Lord_Howe", "2026-04-04T14:50Z", "2026-04-04T15:10Z"),
      granularity: Granularity.HOUR,
    },
    {
      ...oddDays("America/St_Johns", "2010-11-01T12:00Z", "2010-12-24T12:00Z"),
      granularity: Granularity.MONTH,
    },
    { ...oddDays("Europe/Berlin", "2024-10-27T02:45+02:00", "2024-10-27T02:15+01:00"), dayStart: 150 },
    { ...oddDays("Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-31T12:00+14:00"), dayStart: 240 },
    { ...oddDays("Antarctica/Casey", "2021-10-02T12:00+08:00", "2021-10-03T03:01+11:00"), dayStart: 180 },
  ])("WatchSummary and GetSummary return the same unusual periods of $timeZone", async (question) => {
    const userId = randomUUID();
    await record(userId, question.from);
    await record(userId, question.to);
    const answered = (await watchInside(userId, newFeeds(), question).next()).map(answeredPeriod);
    expect(answered).toEqual(await askService(services.a, userId, question));
  });
});
