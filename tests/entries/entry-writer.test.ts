import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import type { NewEntry } from "../../src/entries/entry.ts";
import type { EntryWriterLimits } from "../../src/entries/entry-writer.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { failureOf } from "../support/failures.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { connectionPoolOver, createTestPool } from "../support/test-pool.ts";
import { createWritePath } from "../support/write-path.ts";

const database = useTestDatabase();
checkAggregatesAfterAll(database);

const log = createLog("silent");
const forever = new AbortController();

describe("group commit", () => {
  test("records 500 concurrent entries with fewer than ten statements", async () => {
    const { writer, statements } = openWriter();
    const entries = Array.from({ length: 500 }, () => entryOf({}));
    const results = await Promise.all(entries.map((entry) => writer.record(entry, forever)));
    expect(results.map(({ isNew }) => isNew)).toEqual(entries.map(() => true));
    expect(results.map(({ stored }) => stored.requestId)).toEqual(entries.map(({ requestId }) => requestId));
    expect(await count(entries)).toBe(500);
    expect(statements()).toBeLessThan(10);
  });

  test("sends an entry at once if fewer statements are in flight than allowed", async () => {
    const { writer } = openWriter({ maxStatements: 2 });
    await using lock = await lockWrites(database);
    const first = writer.record(entryOf({}), forever);
    await lock.waitForBlocked(1);
    const second = writer.record(entryOf({}), forever);
    await lock.waitForBlocked(2);
    await lock.release();
    expect(await Promise.all([first, second])).toMatchObject([{ isNew: true }, { isNew: true }]);
  });

  test("observes the limits for concurrent statements and for rows of a statement", async () => {
    const { writer, statements } = openWriter({ maxStatements: 2, maxStatementRows: 10 });
    await using lock = await lockWrites(database);
    const entries = Array.from({ length: 36 }, () => entryOf({}));
    const results = entries.map((entry) => writer.record(entry, forever));
    await lock.waitForBlocked(2);
    expect(statements()).toBe(2);
    await lock.release();
    await Promise.all(results);
    // Two statements with one row each, and the others with at most ten each of the remaining 34 rows.
    expect(statements()).toBeGreaterThanOrEqual(2 + 4);
    expect(await count(entries)).toBe(36);
  });

  test("divides the waiting entries among the allowed statements", async () => {
    const { writer, statements } = openWriter({ maxStatements: 2 });
    await using lock = await lockWrites(database);
    const results = Array.from({ length: 202 }, () => writer.record(entryOf({}), forever));
    await lock.waitForBlocked(2);
    await lock.release();
    await Promise.all(results);
    // Two statements with one row each, and at least two for the remaining 200 rows.
    expect(statements()).toBeGreaterThanOrEqual(2 + 2);
  });

  test("rejects entries with RESOURCE_EXHAUSTED and RetryInfo while too many are pending", async () => {
    const { writer } = openWriter({ maxPendingRows: 5 });
    await using lock = await lockWrites(database);
    const pending = [
      writer.record(entryOf({}), forever),
      writer.recordBatch([entryOf({}), entryOf({}), entryOf({})]),
    ];
    const refused = [
      await failureOf(writer.recordBatch([entryOf({}), entryOf({})])),
      await (async () => {
        pending.push(writer.record(entryOf({}), forever));
        return failureOf(writer.record(entryOf({}), forever));
      })(),
    ];
    for (const error of refused) {
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
      expect(error.findDetails(RetryInfoSchema)[0]?.retryDelay).toBeDefined();
    }
    await lock.release();
    await Promise.all(pending);
    expect(await writer.record(entryOf({}), forever)).toMatchObject({ isNew: true });
  });

  test("records only the first of several concurrent entries with the same request_id", async () => {
    const { writer } = openWriter({ maxStatements: 1 });
    const requestId = randomUUID();
    const userId = randomUUID();
    await using lock = await lockWrites(database);
    const others = [1, 2, 3].map(() => writer.record(entryOf({}), forever));
    const results = [7, 8, 9, 7].map((wordCount) =>
      writer.record(entryOf({ requestId, userId, wordCount }), forever),
    );
    await lock.release();
    expect(await Promise.all(results)).toMatchObject([
      { isNew: true, stored: { wordCount: 7 } },
      { isNew: false, stored: { wordCount: 7 } },
      { isNew: false, stored: { wordCount: 7 } },
      { isNew: false, stored: { wordCount: 7 } },
    ]);
    await Promise.all(others);
    expect(await aggregatesOf(database.pool, userId)).toEqual({ words: 7, entries: 1, rows: 1 });
  });
});

describe("a row that the database rejects", () => {
  beforeAll(() =>
    database.pool.query("ALTER TABLE learning_log ADD CONSTRAINT poison CHECK (user_id NOT LIKE 'poison%')"),
  );

  test("fails alone, and the other rows of its statement are recorded", async () => {
    const { writer } = openWriter({ maxStatements: 1 });
    const userId = randomUUID();
    const entries = Array.from({ length: 100 }, (_, index) =>
      entryOf({ userId: [0, 37, 38, 99].includes(index) ? `poison ${userId}` : userId }),
    );
    const outcomes = await Promise.allSettled(entries.map((entry) => writer.record(entry, forever)));
    const failed = outcomes.flatMap(({ status }, index) => (status === "rejected" ? [index] : []));
    expect(failed).toEqual([0, 37, 38, 99]);
    for (const index of failed) expect(outcomes[index]).toMatchObject({ reason: { constraint: "poison" } });
    expect(
      outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value.isNew : [])),
    ).toEqual(Array(96).fill(true));
    expect(await aggregatesOf(database.pool, userId)).toMatchObject({ entries: 96 });
    expect(await aggregatesOf(database.pool, `poison ${userId}`)).toMatchObject({ entries: 0 });
  });

  test("makes its whole batch fail, and nothing of the batch is recorded", async () => {
    const { writer } = openWriter();
    const entries = [entryOf({}), entryOf({ userId: "poison" }), entryOf({})];
    await expect(writer.recordBatch(entries)).rejects.toMatchObject({ constraint: "poison" });
    expect(await count(entries)).toBe(0);
  });

  test("leaves its request_id free for a valid row", async () => {
    const { writer } = openWriter();
    const bad = entryOf({ userId: "poison" });
    await expect(writer.record(bad, forever)).rejects.toMatchObject({ constraint: "poison" });
    expect(await writer.record({ ...bad, userId: "u" }, forever)).toMatchObject({ isNew: true });
  });
});

describe("a statement that conflicts with another transaction", () => {
  test.for([
    ["a deadlock", "40P01"],
    ["a serialization failure", "40001"],
  ])("is retried after %s, and the caller gets no error", async ([, code]) => {
    const userId = randomUUID();
    // A rollback does not reset a sequence, so it counts the attempts.
    await database.pool.query(`
      CREATE SEQUENCE attempts_${code};
      CREATE FUNCTION lose_${code}() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF nextval('attempts_${code}') < 4 THEN
          RAISE EXCEPTION 'lost' USING ERRCODE = '${code}';
        END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER lose_${code} BEFORE INSERT ON learning_log
      FOR EACH ROW WHEN (NEW.user_id = '${userId}') EXECUTE FUNCTION lose_${code}()`);
    const { writer } = openWriter();
    expect(await writer.record(entryOf({ userId }), forever)).toMatchObject({ isNew: true });
    expect(await aggregatesOf(database.pool, userId)).toMatchObject({ entries: 1 });
  });
});

describe("a caller that cancels", () => {
  test("before its entry is sent gets its abort reason at once, and nothing is written", async () => {
    const { writer, statements } = openWriter({ maxStatements: 1 });
    await using lock = await lockWrites(database);
    const sent = writer.record(entryOf({}), forever);
    await lock.waitForBlocked(1);
    const entry = entryOf({});
    const caller = new AbortController();
    const waiting = writer.record(entry, caller);
    const neighbour = writer.record(entryOf({}), forever);
    caller.abort(new ConnectError("too late", Code.DeadlineExceeded));
    expect(await failureOf(waiting)).toMatchObject({ code: Code.DeadlineExceeded });
    await lock.release();
    await Promise.all([sent, neighbour]);
    await writer.drain();
    expect(await count([entry])).toBe(0);
    expect(statements()).toBe(2);
  });

  test("before the call begins gets its abort reason, and no statement is sent", async () => {
    const { writer, statements } = openWriter();
    const cancelled = new AbortController();
    cancelled.abort(new ConnectError("gone", Code.Canceled));
    expect(await failureOf(writer.record(entryOf({}), cancelled))).toMatchObject({ code: Code.Canceled });
    expect(statements()).toBe(0);
  });

  test("after its entry is sent gets its abort reason at once, and a retry finds the entry recorded", async () => {
    const { writer } = openWriter();
    await using lock = await lockWrites(database);
    const entry = entryOf({});
    const caller = new AbortController();
    const sent = writer.record(entry, caller);
    await lock.waitForBlocked(1);
    caller.abort(new ConnectError("gone", Code.Canceled));
    expect(await failureOf(sent)).toMatchObject({ code: Code.Canceled });
    await lock.release();
    // An immediate retry could overtake the statement that was waiting for the lock, and create the entry.
    await expect.poll(() => count([entry]), { timeout: 10_000 }).toBe(1);
    expect(await writer.record(entry, forever)).toMatchObject({ isNew: false });
  });

  test("frees its place among the pending entries", async () => {
    const { writer } = openWriter({ maxStatements: 1, maxPendingRows: 2 });
    await using lock = await lockWrites(database);
    const sent = writer.record(entryOf({}), forever);
    const caller = new AbortController();
    const waiting = writer.record(entryOf({}), caller);
    caller.abort(new ConnectError("gone", Code.Canceled));
    await failureOf(waiting);
    const next = writer.record(entryOf({}), forever);
    await lock.release();
    expect(await Promise.all([sent, next])).toMatchObject([{ isNew: true }, { isNew: true }]);
  });
});

describe("draining the writer", () => {
  test("writes pending entries, rejects new ones with UNAVAILABLE, and ends when all are written", async () => {
    const { writer } = openWriter({ maxStatements: 1, maxStatementRows: 3 });
    const entries = Array.from({ length: 20 }, () => entryOf({}));
    await using lock = await lockWrites(database);
    const results = entries.map((entry) => writer.record(entry, forever));
    const batch = [entryOf({}), entryOf({})];
    const batchRecordings = writer.recordBatch(batch);
    const drained = writer.drain();
    for (const late of [writer.record(entryOf({}), forever), writer.recordBatch([entryOf({})])]) {
      const error = await failureOf(late);
      expect(error).toMatchObject({ code: Code.Unavailable });
      expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
    }
    await lock.release();
    await drained;
    expect(await count([...entries, ...batch])).toBe(22);
    await Promise.all([...results, batchRecordings]);
  });

  test("ends at once if nothing is pending, even the second time", async () => {
    const { writer } = openWriter();
    await writer.record(entryOf({}), forever);
    await writer.drain();
    await writer.drain();
    expect(await failureOf(writer.record(entryOf({}), forever))).toMatchObject({ code: Code.Unavailable });
  });
});

test("an entry whose connection breaks gets UNAVAILABLE with RetryInfo, and a retry can record it", async () => {
  const { writer } = openWriter();
  await using lock = await lockWrites(database);
  const entry = entryOf({});
  const failure = failureOf(writer.record(entry, forever));
  await lock.waitForBlocked(1);
  await database.pool.query(
    `SELECT pg_terminate_backend(pid)
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  );
  const error = await failure;
  expect(error).toMatchObject({ code: Code.Unavailable });
  expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
  await lock.release();
  expect(await writer.record(entry, forever)).toMatchObject({ isNew: true });
});

/** A writer with a separate pool and no remembered entries, and the number of statements that it has sent so far. */
function openWriter(limits: Partial<EntryWriterLimits> = {}) {
  const pool = createTestPool(database.url);
  onTestFinished(() => pool.end());
  let acquired = 0;
  pool.on("acquire", () => {
    acquired += 1;
  });
  const defaults = { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 100_000 };
  const { writer } = createWritePath({
    pool: connectionPoolOver(pool),
    databaseUrl: database.url,
    limits: { ...defaults, ...limits },
    recentEntries: 0,
    log,
  });
  return { writer, statements: () => acquired };
}

function entryOf(fields: { requestId?: string; userId?: string; wordCount?: number }) {
  return {
    requestId: randomUUID() as string,
    userId: randomUUID() as string,
    wordCount: 1,
    timestamp: 1_709_208_000_000_000n,
    hasTimestamp: true,
    ...fields,
  } satisfies NewEntry;
}

/** The number of these entries that are in the log. */
async function count(entries: readonly { requestId: string }[]): Promise<number | null> {
  const ids = entries.map(({ requestId }) => requestId);
  const { rowCount } = await database.pool.query("SELECT FROM learning_log WHERE request_id = ANY ($1)", [
    ids,
  ]);
  return rowCount;
}
