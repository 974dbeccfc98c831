import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  GetSummaryRequestSchema,
  type GetSummaryResponse,
  GetSummaryResponseSchema,
  Granularity,
  Weekday,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import type { CallContext } from "../../src/call-context.ts";
import { changesChannel } from "../../src/changes/learner-changes.ts";
import { learnerKey } from "../../src/changes/learner-key.ts";
import { watchLookupValidSeconds } from "../../src/changes/watch-publisher.ts";
import { unknownWatches } from "../../src/changes/watched-learners.ts";
import { leaseMs } from "../../src/database/notifications.ts";
import { insertEntries } from "../../src/entries/sql/insert-entries.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { getSummary } from "../../src/summaries/get-summary.ts";
import { SummaryMemo } from "../../src/summaries/summary-memo.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { cutNotifications } from "../support/notification-links.ts";
import { recordLearner } from "../support/record-entries.ts";
import { lockTables } from "../support/table-locks.ts";
import { TestClock } from "../support/test-clock.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";
import { createWritePath } from "../support/write-path.ts";
import { summaryRequestOf } from "./ask.ts";
import { listenTo } from "./listen.ts";
import type { OracleQuestion } from "./oracle.ts";

const database = useTestDatabase();
checkAggregatesAfterAll(database);

const noon = micros("2024-02-29T12:00Z");
const never = new AbortController();
/** Ends of a last period: one has passed, and the other has not. */
const longAgo = micros("2024-03-01T00:00Z");
const stillOpen = micros("2100-01-01T00:00Z");
const nowMicros = () => BigInt(Date.now()) * 1000n;

const clock = new TestClock();

// One instance without its HTTP server, created as in `src/service.ts`.
const { writer, changes, notifications } = createWritePath({
  pool: database.connections,
  databaseUrl: database.url,
  limits: { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 10_000 },
  recentEntries: 0,
  clock,
  log: createLog("silent"),
});

/** Has three words on the leap day of 2024, recorded before the instance listened, so that no notification arrives. */
let learner: string;
beforeAll(async () => {
  learner = await recordLearner(database.connections, [{ timestamp: noon, wordCount: 3 }]);
  notifications.start();
});
afterAll(async () => {
  changes.watched.close();
  await notifications.close();
});

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 });

// Until the instance has listened for a while, it announces every write. The memo stores nothing while the instance
// receives no notifications, and after that until every older transaction of the database server has ended, including
// those of other tests.
const expectCurrent = () => {
  expect(changes.watched.filterWatched(["anybody"]).asOf).toBeDefined();
  expect(changes.isCurrent()).toBe(true);
  expect(changes.memoizableUntil()).toBeDefined();
};
beforeEach(() => eventually(expectCurrent));

/** Call it in a describe block. Stops the clock in each test, so that the instance stays current on a busy machine. */
function stayCurrent(): void {
  beforeEach(() =>
    eventually(() => {
      clock.stop();
      try {
        expectCurrent();
      } catch (error) {
        clock.start();
        throw error;
      }
    }),
  );
  afterEach(() => clock.start());
}

const newMemo = () => new SummaryMemo<GetSummaryResponse>(changes, 1_000_000, () => 1_000);
/** A memo of texts. Each text counts as one byte per character, plus the bytes of its key. */
const newTextMemo = () => new SummaryMemo<string>(changes, 1_000, (text) => text.length);

const record = (userId: string, timestamp: bigint) =>
  writer.record({ requestId: randomUUID(), userId, wordCount: 1, timestamp, hasTimestamp: true }, never);

const pools = { small: database.connections, large: database.connections };
const calendars = new Calendars();

const leapDayOf2024 = { from: noon, to: noon, granularity: Granularity.DAY, timeZone: "UTC" };

/** Returns the summary of the leap day of 2024. */
function leapDay(
  memo: SummaryMemo<GetSummaryResponse>,
  userId: string,
  context: CallContext = never,
): Promise<GetSummaryResponse> {
  return askMemo(memo, userId, leapDayOf2024, context);
}

function askMemo(
  memo: SummaryMemo<GetSummaryResponse>,
  userId: string,
  question: OracleQuestion,
  context: CallContext = never,
): Promise<GetSummaryResponse> {
  const request = create(GetSummaryRequestSchema, summaryRequestOf(userId, question));
  const wrap = (bytes: Uint8Array) => fromBinary(GetSummaryResponseSchema, bytes);
  return getSummary({ pools, calendars, memo, wrap }, request, context);
}

const counts = ({ hits, misses }: { hits: number; misses: number }) => ({ hits, misses });

describe("memoized summaries", () => {
  stayCurrent();

  test("the second of two equal requests is answered from memory, and both are counted", async () => {
    const memo = newMemo();
    const first = await leapDay(memo, learner);
    expect(counts(memo)).toEqual({ hits: 0, misses: 1 });
    await using _ = await lockTables(database);
    // A call that needs the database would time out.
    expect(await leapDay(memo, learner, { signal: AbortSignal.timeout(5_000) })).toEqual(first);
    expect(counts(memo)).toEqual({ hits: 1, misses: 1 });
    expect(memo.bytes).toBeGreaterThan(0);
  });

  test("requests that differ only in day_start or week_start have separate summaries", async () => {
    const memo = newMemo();
    const leapWeek = { ...leapDayOf2024, granularity: Granularity.WEEK };
    const questions = [
      leapDayOf2024,
      { ...leapDayOf2024, dayStart: 240 },
      leapWeek,
      { ...leapWeek, dayStart: 240 },
      { ...leapWeek, weekStart: Weekday.SUNDAY },
    ];
    const starts: (bigint | undefined)[] = [];
    for (const question of questions) {
      const { periods } = await askMemo(memo, learner, question);
      starts.push(...periods.map(({ period }) => period?.seconds));
    }
    expect(starts).toEqual(
      [
        "2024-02-29T00:00Z",
        "2024-02-29T04:00Z",
        "2024-02-26T00:00Z",
        "2024-02-26T04:00Z",
        "2024-02-25T00:00Z",
      ].map((start) => micros(start) / 1_000_000n),
    );
    expect(counts(memo)).toEqual({ hits: 0, misses: 5 });
    // Written in another way.
    await askMemo(memo, learner, { ...leapWeek, weekStart: Weekday.MONDAY });
    await askMemo(memo, learner, { ...leapDayOf2024, weekStart: Weekday.SUNDAY });
    expect(counts(memo)).toEqual({ hits: 2, misses: 5 });
  });

  test.for([
    ["is not memoized before it ends at day_start, long after midnight", 30, { hits: 0, misses: 2 }],
    ["is memoized after it has ended at day_start", -15, { hits: 1, misses: 1 }],
  ] as const)("yesterday %s", async ([, minutesAhead, expected]) => {
    const memo = newMemo();
    const utc = Temporal.Now.zonedDateTimeISO("UTC");
    // In this zone, it is between 06:00 and 18:00. Etc/GMT+12 is 12 hours behind UTC.
    const now = utc.hour >= 6 && utc.hour < 18 ? utc : utc.withTimeZone("Etc/GMT+12");
    const quarter = 60 * now.hour + now.minute - (now.minute % 15);
    const lateYesterday = now.startOfDay().subtract({ hours: 1 }).epochNanoseconds / 1000n;
    const question = {
      from: lateYesterday,
      to: lateYesterday,
      granularity: Granularity.DAY,
      timeZone: now.timeZoneId,
      dayStart: quarter + minutesAhead,
    };
    for (let round = 0; round < 2; round += 1) await askMemo(memo, learner, question);
    expect(counts(memo)).toEqual(expected);
  });

  test.for([
    ["has ended is memoized", micros("2025-01-01T00:00Z"), { hits: 1, misses: 1 }],
    ["has not ended is not memoized", stillOpen, { hits: 0, misses: 2 }],
  ] as const)("a summary of the hours with entries in a long range that %s", async ([, to, expected]) => {
    const from = micros("2000-01-01T00:00Z");
    const memo = newMemo();
    const question = { from, to, granularity: Granularity.HOUR, timeZone: "UTC", omitEmptyPeriods: true };
    for (let round = 0; round < 2; round += 1) {
      expect((await askMemo(memo, learner, question)).periods).toHaveLength(1);
    }
    expect(counts(memo)).toEqual(expected);
  });

  test("memory is limited: the least recently used summaries are evicted first", async () => {
    const memo = newTextMemo();
    const ask = (key: string) => memo.answer(keyedRequest(key, "x".repeat(200)), never);
    for (const key of ["1", "2", "3", "4"]) await ask(key);
    await ask("1");
    await ask("5");
    expect(memo.bytes).toBeLessThanOrEqual(1_000);
    expect(counts(memo)).toEqual({ hits: 1, misses: 5 });
    for (const key of ["1", "3", "4", "5"]) await ask(key);
    expect(counts(memo)).toEqual({ hits: 5, misses: 5 });
    await ask("2");
    expect(counts(memo)).toEqual({ hits: 5, misses: 6 });
  });

  test("a summary that is larger than the limit is not memoized, and evicts nothing", async () => {
    const memo = newTextMemo();
    await memo.answer(keyedRequest("small", "x"), never);
    const large = keyedRequest("large", "x".repeat(1_000));
    for (let round = 0; round < 2; round += 1) await memo.answer(large, never);
    await memo.answer(keyedRequest("small", "x"), never);
    expect(counts(memo)).toEqual({ hits: 1, misses: 3 });
  });

  test("a summary with an open period is not memoized", async () => {
    const memo = newTextMemo();
    for (const summary of ["first", "second"]) {
      const compute = async () => ({ summary, end: stillOpen });
      expect(await memo.answer({ userId: "learner", key: "key", compute }, never)).toBe(summary);
    }
    expect(memo.bytes).toBe(0);
  });
});

describe("memoized summaries that grow", () => {
  stayCurrent();

  /** A summary whose size changes, such as one that is kept in one more format. */
  class GrowingSummary {
    size = 100;
    onGrowth: (() => void) | undefined;

    grow(bytes: number): void {
      this.size += bytes;
      this.onGrowth?.();
    }
  }

  const newGrowingMemo = () =>
    new SummaryMemo<GrowingSummary>(
      changes,
      1_000,
      ({ size }) => size,
      (summary, listener) => {
        summary.onGrowth = listener;
      },
    );
  const ask = (memo: SummaryMemo<GrowingSummary>, key: string, userId = "learner") =>
    memo.answer(
      { userId, key, compute: async () => ({ summary: new GrowingSummary(), end: longAgo }) },
      never,
    );

  test("count with their new size, and evict the least recently used ones", async () => {
    const memo = newGrowingMemo();
    const [first, second, third] = [await ask(memo, "1"), await ask(memo, "2"), await ask(memo, "3")];
    const before = memo.bytes;
    second.grow(500);
    expect(memo.bytes).toBe(before + 500);
    expect(memo.evictions).toBe(0);
    second.grow(200);
    expect(memo.bytes).toBe(before + 700 - 102);
    expect(memo.evictions).toBe(1);
    expect([await ask(memo, "2"), await ask(memo, "3")]).toEqual([second, third]);
    expect(await ask(memo, "1")).not.toBe(first);
  });

  test("are evicted if they grow larger than the limit, and others are not", async () => {
    const memo = newGrowingMemo();
    const [large, small] = [await ask(memo, "large"), await ask(memo, "small")];
    const before = memo.bytes;
    large.grow(1_000);
    expect(memo.bytes).toBe(before - 110);
    expect(memo.evictions).toBe(1);
    expect(await ask(memo, "small")).toBe(small);
    expect(await ask(memo, "large")).not.toBe(large);
  });

  test("are still discarded by a late write, and then no longer count", async () => {
    const memo = newGrowingMemo();
    const userId = randomUUID();
    const old = await ask(memo, "key", userId);
    old.grow(100);
    await record(userId, noon);
    expect(memo.bytes).toBe(0);
    // A caller still holds the summary, and sends it in one more format.
    old.grow(100);
    expect(memo.bytes).toBe(0);
    expect(await ask(memo, "key", userId)).not.toBe(old);
  });
});

describe("concurrent equal requests", () => {
  stayCurrent();

  test("run one statement", async () => {
    const memo = newMemo();
    await using lock = await lockTables(database);
    const answers = Array.from({ length: 20 }, () => leapDay(memo, learner));
    await lock.waitForBlocked(1);
    await lock.release();
    for (const { periods } of await Promise.all(answers)) {
      expect(periods).toMatchObject([{ totalWordCount: 3n }]);
    }
    expect(counts(memo)).toEqual({ hits: 19, misses: 1 });
  });

  test("share one more computation if the first one began before they arrived, and was not memoized", async () => {
    const memo = new SummaryMemo<number>(changes, 1_000, () => 1);
    let computations = 0;
    const compute = async () => {
      computations += 1;
      const summary = computations;
      await sleep(50);
      return { summary, end: stillOpen };
    };
    const ask = () => memo.answer({ userId: "learner", key: "key", compute }, never);
    expect(await Promise.all(Array.from({ length: 20 }, ask))).toEqual([1, ...Array(19).fill(2)]);
  });

  test("fail if their computations fail, and the next request computes the summary again", async () => {
    const memo = newTextMemo();
    const compute = () => Promise.reject(new Error("no luck"));
    const ask = () => memo.answer({ userId: "learner", key: "key", compute }, never);
    const outcomes = await Promise.allSettled([ask(), ask(), ask()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(await memo.answer(keyedRequest("key", "luck"), never)).toBe("luck");
  });

  test.for([
    { cancelled: [0] },
    { cancelled: [1] },
    { cancelled: [2] },
    { cancelled: [0, 1] },
    { cancelled: [0, 2] },
  ])("are answered even if some of three callers cancel: $cancelled", async ({ cancelled }) => {
    const memo = newMemo();
    await using lock = await lockTables(database);
    const controllers = [0, 1, 2].map(() => new AbortController());
    const outcomes = Promise.allSettled(controllers.map((controller) => leapDay(memo, learner, controller)));
    await lock.waitForBlocked(1);
    for (const index of cancelled) {
      controllers[index]?.abort(new Error("gave up"));
      // If the first caller cancels, its statement is cancelled, and a new one serves the other callers.
      await sleep(100);
      await lock.waitForBlocked(1);
    }
    await lock.release();
    for (const [index, outcome] of (await outcomes).entries()) {
      if (cancelled.includes(index)) expect(outcome).toMatchObject({ reason: { message: "gave up" } });
      else expect(outcome).toMatchObject({ value: { periods: [{ totalWordCount: 3n }] } });
    }
  });

  test("cancel their statement when all callers cancel", async () => {
    const memo = newMemo();
    await using lock = await lockTables(database);
    const controller = new AbortController();
    const outcomes = Promise.allSettled([1, 2, 3].map(() => leapDay(memo, learner, controller)));
    await lock.waitForBlocked(1);
    controller.abort();
    await lock.waitForBlocked(0);
    expect((await outcomes).map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  });
});

describe("discarded summaries", () => {
  stayCurrent();

  test("a late write discards its learner's summaries before it is acknowledged, and no others", async () => {
    const memo = newMemo();
    const [userId, other] = [
      await recordLearner(database.connections, []),
      await recordLearner(database.connections, []),
    ];
    await leapDay(memo, userId);
    await leapDay(memo, other);
    // No notification can discard the answer: the connections are broken, and the instance has not detected it yet.
    await cutNotifications(database);
    await record(userId, noon);
    expect((await leapDay(memo, userId)).periods).toMatchObject([{ totalWordCount: 1n }]);
    expect(counts(memo).misses).toBe(3);
  });

  test("a summary contains an entry of another instance after this one acknowledged a retry of it", async () => {
    const memo = newMemo();
    const entry = {
      requestId: randomUUID(),
      userId: randomUUID(),
      wordCount: 1,
      timestamp: noon,
      hasTimestamp: true,
    };
    await leapDay(memo, entry.userId);
    // The notification of the entry does not arrive, and the instance has not detected the broken connections yet.
    await cutNotifications(database);
    await insertEntries(database.connections, [entry], unknownWatches);
    expect(await writer.record(entry, never)).toMatchObject({ isNew: false });
    expect((await leapDay(memo, entry.userId)).periods).toMatchObject([{ totalWordCount: 1n }]);
  });

  /**
   * Records a late entry of one learner while an answer for another one is computed; both may be the same.
   *
   * @returns the memo that computed the answer
   */
  async function recordWhileComputing(writtenId: string, askedId: string): Promise<SummaryMemo<string>> {
    const memo = newTextMemo();
    const gate = Promise.withResolvers<void>();
    const compute = async () => {
      await gate.promise;
      return { summary: "old", end: longAgo };
    };
    const old = memo.answer({ userId: askedId, key: "key", compute }, never);
    await sleep(0);
    await record(writtenId, noon);
    gate.resolve();
    expect(await old).toBe("old");
    return memo;
  }

  test("a summary is not memoized if a late entry of its learner was written while it was computed", async () => {
    const userId = randomUUID();
    const memo = await recordWhileComputing(userId, userId);
    expect(await memo.answer({ ...keyedRequest("key", "new"), userId }, never)).toBe("new");
  });

  test("a summary is memoized if a late entry of another learner was written while it was computed", async () => {
    const memo = await recordWhileComputing(randomUUID(), randomUUID());
    expect(await memo.answer(keyedRequest("key", "new"), never)).toBe("old");
  });

  test("without notifications, nothing is answered from memory, and older summaries are discarded", async () => {
    const memo = newTextMemo();
    const ask = (summary: string) => memo.answer(keyedRequest("key", summary), never);
    expect(await ask("before")).toBe("before");
    expect(await ask("never asked for")).toBe("before");
    await cutNotifications(database);
    clock.advance(leaseMs);
    expect(await ask("meanwhile")).toBe("meanwhile");
    expect(await ask("meanwhile, again")).toBe("meanwhile, again");
    clock.start();
    const answers = new Set<string>();
    await vi.waitFor(
      async () => {
        answers.add(await ask("after"));
        expect(memo.hits).toBe(2);
      },
      { timeout: 20_000, interval: 10 },
    );
    expect([...answers]).toEqual(["after"]);
  });
});

describe("the other instances are notified of", () => {
  const learnersOf = (payload: string) => payload.split(",").map((change) => change.split(":")[0]);

  /**
   * Records an entry of a new learner. Repeats that until the entry was written within a second of the instance's last
   * heartbeat, because later entries are announced in any case.
   */
  async function recordInTime(timestamp: () => bigint): Promise<string> {
    for (;;) {
      const { asOf } = changes.watched.filterWatched([]);
      const userId = randomUUID();
      await record(userId, timestamp());
      const { rows } = await database.pool.query<{ now: Date }>("SELECT clock_timestamp() AS now");
      const knownAt = asOf?.getTime() ?? 0;
      if (rows[0] && rows[0].now.getTime() < knownAt + watchLookupValidSeconds * 1_000) return userId;
    }
  }

  test("a late write, but not of a write at the present time", async () => {
    const payloads = await listenTo(database, changesChannel);
    const notAnnounced = [
      await recordInTime(nowMicros),
      await recordInTime(() => nowMicros() - 10_000_000n),
      await recordInTime(() => nowMicros() + 3_600_000_000n),
    ].map(learnerKey);
    const late = randomUUID();
    await record(late, nowMicros() - 60_000_000n);
    await eventually(() => expect(payloads.flatMap(learnersOf)).toContain(learnerKey(late)));
    for (const learner of notAnnounced) expect(payloads.flatMap(learnersOf)).not.toContain(learner);
  });

  test("late entries of 1,000 learners in one batch, in payloads that PostgreSQL accepts", async () => {
    const payloads = await listenTo(database, changesChannel);
    const userIds = Array.from({ length: 1_000 }, () => randomUUID());
    await writer.recordBatch(
      userIds.map((userId) => ({
        requestId: randomUUID(),
        userId,
        wordCount: 1,
        // Recent times have the longest bucket numbers that a late entry can have.
        timestamp: nowMicros() - 60_000_000n,
        hasTimestamp: true,
      })),
    );
    await eventually(() => expect(payloads.flatMap(learnersOf)).toHaveLength(1_000));
    expect(payloads.flatMap(learnersOf).sort()).toEqual(userIds.map(learnerKey).sort());
    for (const payload of payloads) expect(payload.length).toBeLessThan(8_000);
    expect(payloads.length).toBeLessThanOrEqual(4);
  });

  test("late entries of 10,000 learners in one import, while other writes are served", async () => {
    const service = await startOwnService(database.url);
    const client = grpcClient(service.url);
    const payloads = await listenTo(database, changesChannel);
    const batches = Array.from({ length: 10 }, () => ({
      entries: Array.from({ length: 1_000 }, () => ({
        requestId: randomUUID(),
        userId: randomUUID(),
        wordCount: 1,
        timestamp: { seconds: 1_709_208_000n, nanos: 0 },
      })),
    }));
    let acknowledged = 0;
    let servedMeanwhile = 0;
    const importing = (async () => {
      for await (const { createdCount } of client.importEntries(asStream(batches)))
        acknowledged += createdCount;
    })();
    while (acknowledged < 10_000) {
      await client.createEntry({ requestId: randomUUID(), userId: randomUUID(), wordCount: 1 });
      if (acknowledged < 10_000) servedMeanwhile += 1;
    }
    await importing;
    expect(servedMeanwhile).toBeGreaterThan(0);
    await eventually(() => expect(new Set(payloads.flatMap(learnersOf)).size).toBeGreaterThan(9_990));
  });
});

/** A request for a summary whose periods have ended. */
function keyedRequest(key: string, summary: string) {
  return { userId: "learner", key, compute: async () => ({ summary, end: longAgo }) };
}

async function* asStream<Message>(messages: readonly Message[]): AsyncIterable<Message> {
  yield* messages;
}
