import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll, expectAggregatesMatchLog } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { Random, seed } from "../support/random.ts";
import { minutelyEntries, recordLearner } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);

const { pool, connections } = service.database;
const client = () => grpcClient(service.url);
const timestamp = timestampFromDate(new Date("2024-02-29T12:00:00Z"));
const oneWord = (userId: string) => ({ requestId: randomUUID() as string, userId, wordCount: 1, timestamp });

describe.concurrent("DeleteEntry", () => {
  test("returns the deleted entry, and removes it from the list and the aggregates", async () => {
    const userId = randomUUID();
    const { entry } = await client().createEntry({ ...oneWord(userId), wordCount: 5 });
    const { entry: other } = await client().createEntry({ ...oneWord(userId), wordCount: 3 });
    const deleted = await client().deleteEntry({ requestId: entry?.requestId.toUpperCase() ?? "" });
    expect(deleted.entry).toEqual(entry);
    expect((await client().listEntries({ userId })).entries).toEqual([other]);
    expect(await aggregatesOf(pool, userId)).toEqual({ words: 3, entries: 1, rows: 1 });
  });

  test("deletes the aggregate together with the last entry of its bucket, even an entry of 0 words", async () => {
    const userId = randomUUID();
    const entry = { ...oneWord(userId), wordCount: 0 };
    await client().createEntry(entry);
    await client().deleteEntry({ requestId: entry.requestId });
    expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
  });

  test("returns NOT_FOUND for an unknown entry, and for one that is already deleted", async () => {
    const entry = oneWord(randomUUID());
    expect(await failureOf(client().deleteEntry(entry))).toMatchObject({ code: Code.NotFound });
    await client().createEntry(entry);
    await client().deleteEntry({ requestId: entry.requestId });
    expect(await failureOf(client().deleteEntry(entry))).toMatchObject({ code: Code.NotFound });
  });

  test("rejects a request_id that is not a UUID", async () => {
    const error = await failureOf(client().deleteEntry({ requestId: "42" }));
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual(["request_id"]);
  });

  test("frees the request_id, even for another learner", async () => {
    const entry = oneWord(randomUUID());
    await client().createEntry(entry);
    await client().deleteEntry({ requestId: entry.requestId });
    const userId = randomUUID();
    expect(await client().createEntry({ ...entry, userId })).toMatchObject({ alreadyExisted: false });
    expect(await aggregatesOf(pool, userId)).toMatchObject({ entries: 1 });
  });

  test("keeps the aggregates correct while many entries are deleted concurrently", async () => {
    const userId = randomUUID();
    const entries = Array.from({ length: 40 }, () => oneWord(userId));
    await client().batchCreateEntries({ entries });
    const deleting = Promise.all(entries.map(({ requestId }) => client().deleteEntry({ requestId })));
    await watchAggregatesUntil(deleting);
    expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
  });

  test("succeeds for exactly one of many concurrent callers that delete the same entry", async () => {
    const entry = oneWord(randomUUID());
    await client().createEntry(entry);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => client().deleteEntry({ requestId: entry.requestId })),
    );
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: Code.NotFound });
    }
    expect(await aggregatesOf(pool, entry.userId)).toMatchObject({ rows: 0 });
  });
});

describe("DeleteUserEntries", () => {
  test("deletes only that learner's entries, and returns their number", async () => {
    const userId = await recordLearner(connections, minutelyEntries(100));
    const other = await recordLearner(connections, minutelyEntries(100));
    expect(await client().deleteUserEntries({ userId })).toMatchObject({ deletedCount: 100n });
    expect(await countEntries(userId)).toBe(0);
    expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
    expect(await aggregatesOf(pool, other)).toMatchObject({ entries: 100 });
  });

  test("deletes more entries than fit into one transaction, and keeps the aggregates correct meanwhile", async () => {
    const userId = await recordLearner(connections, minutelyEntries(20_001));
    const deleting = client().deleteUserEntries({ userId });
    await watchAggregatesUntil(deleting);
    expect(await deleting).toMatchObject({ deletedCount: 20_001n });
    expect(await countEntries(userId)).toBe(0);
    expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
  });

  test("deletes exactly as many entries as fit into one transaction", async () => {
    const userId = await recordLearner(connections, minutelyEntries(10_000));
    expect(await client().deleteUserEntries({ userId })).toMatchObject({ deletedCount: 10_000n });
    expect(await countEntries(userId)).toBe(0);
  });

  test("deletes everything even if a concurrent transaction deletes one of the entries", async () => {
    const userId = await recordLearner(connections, minutelyEntries(10_050));
    const { entries } = await client().listEntries({ userId, to: { seconds: 1_704_067_320n } });
    const [oldest] = entries;
    const rival = await pool.connect();
    await rival.query("BEGIN");
    await rival.query("DELETE FROM learning_log WHERE request_id = $1", [oldest?.requestId]);
    await rival.query(
      `UPDATE learning_log_aggregates
      SET total_word_count = total_word_count - 1, entry_count = entry_count - 1
      WHERE user_id = $1 AND bucket = '2024-01-01T00:00:00Z'`,
      [userId],
    );
    const deleting = client().deleteUserEntries({ userId });
    await waitForBlockedStatement();
    await rival.query("COMMIT");
    rival.release();
    expect(await deleting).toMatchObject({ deletedCount: 10_049n });
    expect(await countEntries(userId)).toBe(0);
    expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
  });

  test("keeps an entry that is recorded after the call began", async () => {
    const userId = await recordLearner(connections, minutelyEntries(10));
    const later = oneWord(userId);
    await client().createEntry(later);
    await pool.query("UPDATE learning_log SET create_time = now() + '1 minute' WHERE request_id = $1", [
      later.requestId,
    ]);
    expect(await client().deleteUserEntries({ userId })).toMatchObject({ deletedCount: 10n });
    expect((await client().listEntries({ userId })).entries).toMatchObject([later]);
  });

  test("deletes each entry once if two callers delete the same learner concurrently", async () => {
    const userId = await recordLearner(connections, minutelyEntries(500));
    const outcomes = await Promise.allSettled([1, 2].map(() => client().deleteUserEntries({ userId })));
    const deleted = outcomes.map((outcome) =>
      outcome.status === "fulfilled" ? outcome.value.deletedCount : 0n,
    );
    expect(deleted.reduce((sum, count) => sum + count, 0n)).toBe(500n);
    expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
  });

  test("returns NOT_FOUND for a learner without entries, and rejects an empty user_id", async () => {
    expect(await failureOf(client().deleteUserEntries({ userId: randomUUID() }))).toMatchObject({
      code: Code.NotFound,
    });
    const error = await failureOf(client().deleteUserEntries({ userId: "" }));
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual(["user_id"]);
  });

  test("counts every deletion, and keeps the aggregates correct, while entries are recorded", async () => {
    const userId = await recordLearner(connections, minutelyEntries(3000));
    const recorded: string[] = [];
    const deleting = client().deleteUserEntries({ userId });
    let done = false;
    const random = new Random(seed);
    const creating = Promise.all(
      [0, 1, 2, 3].map(async () => {
        while (!done) {
          // In the buckets from which entries are being deleted.
          const minute = BigInt(random.integer(0, 2999));
          const entry = { ...oneWord(userId), timestamp: { seconds: 1_704_067_200n + minute * 60n } };
          await client().createEntry(entry);
          recorded.push(entry.requestId);
        }
      }),
    );
    await watchAggregatesUntil(deleting);
    done = true;
    await creating;
    const { deletedCount } = await deleting;
    expect(deletedCount).toBeGreaterThanOrEqual(3000n);
    expect(await countEntries(userId)).toBe(3000 + recorded.length - Number(deletedCount));
    await withConnection(service.database.url, expectAggregatesMatchLog);
  });
});

describe("an entry and its aggregate are deleted in one transaction, even if it takes long:", () => {
  beforeAll(() =>
    pool.query(`
      CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM pg_sleep(0.2);
        RETURN OLD;
      END $$;
      CREATE TRIGGER dawdle BEFORE DELETE ON learning_log_aggregates
      FOR EACH ROW WHEN (OLD.user_id LIKE 'slow%') EXECUTE FUNCTION dawdle()`),
  );

  test.for([
    ["DeleteEntry", ({ requestId }) => client().deleteEntry({ requestId })],
    ["DeleteUserEntries", ({ userId }) => client().deleteUserEntries({ userId })],
  ] satisfies [string, (entry: ReturnType<typeof oneWord>) => Promise<unknown>][])(
    "%s",
    async ([, remove]) => {
      const entry = oneWord(`slow ${randomUUID()}`);
      await client().createEntry(entry);
      await watchAggregatesUntil(remove(entry));
      expect(await aggregatesOf(pool, entry.userId)).toMatchObject({ rows: 0 });
    },
  );
});

/** Compares the aggregates with the log repeatedly, until the change is complete. */
async function watchAggregatesUntil(change: Promise<unknown>): Promise<void> {
  let done = false;
  const finished = change.finally(() => {
    done = true;
  });
  await withConnection(service.database.url, async (connection) => {
    while (!done) await expectAggregatesMatchLog(connection);
  });
  await finished;
}

/** The number of the learner's entries in the log. */
async function countEntries(userId: string): Promise<number | null> {
  const { rowCount } = await pool.query("SELECT FROM learning_log WHERE user_id = $1", [userId]);
  return rowCount;
}

async function waitForBlockedStatement(): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rowCount } = await pool.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      if (rowCount === 0) throw new Error("no statement waits for a lock");
    },
    { timeout: 20_000, interval: 10 },
  );
}
