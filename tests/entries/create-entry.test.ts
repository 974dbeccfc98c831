import { randomUUID } from "node:crypto";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { ConflictPolicy } from "#gen/dailyaggregator/v1/entry_pb.js";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { conflictOf, failureOf, violatedFields } from "../support/failures.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);

const client = () => grpcClient(service.url);
const leapDay = timestampFromDate(new Date("2024-02-29T12:00:00Z"));

test("answers with the entry as it is stored, and lists it the same", async () => {
  const sent = {
    requestId: randomUUID(),
    userId: randomUUID(),
    wordCount: 2_147_483_647,
    timestamp: leapDay,
  };
  const before = await databaseClock();
  const { entry, alreadyExisted } = await client().createEntry(sent);
  const after = await databaseClock();

  expect(entry).toMatchObject(sent);
  expect(alreadyExisted).toBe(false);
  const createTime = timestampDate(entry?.createTime ?? leapDay);
  expect(createTime >= before && createTime <= after).toBe(true);
  const { entries } = await client().listEntries({ userId: sent.userId });
  expect(entries).toEqual([entry]);
});

test("adds the entry to the aggregates", async () => {
  const userId = randomUUID();
  for (const wordCount of [3, 0, 4]) {
    await client().createEntry({ requestId: randomUUID(), userId, wordCount, timestamp: leapDay });
  }
  expect(await aggregatesOf(service.database.pool, userId)).toEqual({ words: 7, entries: 3, rows: 1 });
});

test("takes the time of the call for the timestamp if none is sent", async () => {
  const before = new Date();
  const { entry } = await client().createEntry({ requestId: randomUUID(), userId: "u", wordCount: 1 });
  const after = new Date();
  const timestamp = timestampDate(entry?.timestamp ?? leapDay);
  expect(timestamp >= before && timestamp <= after).toBe(true);
});

test("keeps the timestamp to the microsecond and cuts off what is finer", async () => {
  const requestId = randomUUID();
  const timestamp = { seconds: 1_709_207_999n, nanos: 999_999_999 };
  const { entry } = await client().createEntry({ requestId, userId: "u", wordCount: 1, timestamp });
  expect(entry?.timestamp).toMatchObject({ seconds: 1_709_207_999n, nanos: 999_999_000 });
  const { rows } = await service.database.pool.query(
    "SELECT to_char(timestamp AT TIME ZONE 'UTC', 'HH24:MI:SS.US') AS time FROM learning_log WHERE request_id = $1",
    [requestId],
  );
  expect(rows).toEqual([{ time: "11:59:59.999999" }]);
  const retry = await failureOf(client().createEntry({ requestId, userId: "u", wordCount: 1, timestamp }));
  expect(conflictOf(retry)).toMatchObject({ payloadMatches: true });
});

test("takes a request_id in upper case for the same as in lower case", async () => {
  const requestId = randomUUID();
  const sent = { userId: randomUUID(), wordCount: 1 };
  const { entry } = await client().createEntry({ ...sent, requestId: requestId.toUpperCase() });
  expect(entry).toMatchObject({ requestId });
  const error = await failureOf(client().createEntry({ ...sent, requestId }));
  expect(error).toMatchObject({ code: Code.AlreadyExists });
  expect(conflictOf(error)).toMatchObject({ requestId, payloadMatches: true });
});

test("records 0 words, but refuses an entry that says no count", async () => {
  const { entry } = await client().createEntry({ requestId: randomUUID(), userId: "u", wordCount: 0 });
  expect(entry).toMatchObject({ wordCount: 0 });
  const error = await failureOf(client().createEntry({ requestId: randomUUID(), userId: "u" }));
  expect(error).toMatchObject({ code: Code.InvalidArgument });
  expect(violatedFields(error)).toEqual(["word_count"]);
});

test("takes a user_id of 128 characters of any script, exactly as it is", async () => {
  for (const userId of ["😀".repeat(128), " a b\t", "é", "e\u0301", "'; DROP TABLE learning_log; --"]) {
    const { entry } = await client().createEntry({ requestId: randomUUID(), userId, wordCount: 1 });
    expect(entry).toMatchObject({ userId });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 1 });
  }
});

describe("refuses what is invalid, names the field, and records nothing:", () => {
  const secondsNow = BigInt(Math.floor(Date.now() / 1000));
  const hour = 3600n;

  test.for([
    ["a request_id that is no UUID", "request_id", { requestId: "42" }],
    ["a UUID without hyphens", "request_id", { requestId: randomUUID().replaceAll("-", "") }],
    ["an empty user_id", "user_id", { userId: "" }],
    ["a user_id of 129 characters", "user_id", { userId: "a".repeat(129) }],
    ["a user_id with NUL", "user_id", { userId: "a\0b" }],
    ["a negative count", "word_count", { wordCount: -1 }],
    ["a time before 1970", "timestamp", { timestamp: { seconds: -1n, nanos: 0 } }],
    ["a time 25 hours ahead", "timestamp", { timestamp: { seconds: secondsNow + 25n * hour } }],
    ["the latest time there is", "timestamp", { timestamp: { seconds: 2n ** 63n - 1n } }],
    ["negative nanos", "timestamp", { timestamp: { seconds: secondsNow, nanos: -1 } }],
    ["a whole second of nanos", "timestamp", { timestamp: { seconds: secondsNow, nanos: 1_000_000_000 } }],
    ["an unknown conflict policy", "on_conflict", { onConflict: 3 as ConflictPolicy }],
  ] as const)("%s", async ([, field, invalid]) => {
    const requestId = randomUUID();
    const error = await failureOf(
      client().createEntry({ requestId, userId: "u", wordCount: 1, timestamp: leapDay, ...invalid }),
    );
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual([field]);
    const { rowCount } = await service.database.pool.query("SELECT FROM learning_log WHERE request_id = $1", [
      requestId,
    ]);
    expect(rowCount).toBe(0);
  });
});

test("takes a time from 1970 on, and up to a day ahead", async () => {
  const seconds = BigInt(Math.floor(Date.now() / 1000)) + 23n * 3600n;
  for (const timestamp of [
    { seconds: 0n, nanos: 0 },
    { seconds, nanos: 999_999_000 },
  ]) {
    const { entry } = await client().createEntry({
      requestId: randomUUID(),
      userId: "u",
      wordCount: 1,
      timestamp,
    });
    expect(entry?.timestamp).toMatchObject(timestamp);
  }
});

describe("a caller that gives up", () => {
  test("while its entry waits gets DEADLINE_EXCEEDED, and nothing is recorded", async () => {
    await using lock = await lockWrites(service.database);
    const [first, second, third] = [1, 2, 3].map((wordCount) => ({
      requestId: randomUUID(),
      userId: randomUUID(),
      wordCount,
    }));
    // These two take up the statements that may be under way at once.
    const sent = [client().createEntry({ ...first }), client().createEntry({ ...second })];
    await lock.waitForBlocked(2);
    const connection = client();
    const error = await failureOf(connection.createEntry({ ...third }, { timeoutMs: 200 }));
    expect(error).toMatchObject({ code: Code.DeadlineExceeded });
    // Once this is answered, the server has heard that the caller gave up.
    await connection.listEntries({ userId: third?.userId ?? "" });
    await lock.release();
    await Promise.all(sent);
    expect(await client().createEntry({ ...third })).toMatchObject({ alreadyExisted: false });
  });

  test("after its entry was sent gets CANCELED, and a retry tells that it is recorded", async () => {
    const userId = randomUUID();
    const entry = { requestId: randomUUID(), userId, wordCount: 1, onConflict: ConflictPolicy.IGNORE };
    const caller = new AbortController();
    await using lock = await lockWrites(service.database);
    const call = failureOf(client().createEntry(entry, { signal: caller.signal }));
    await lock.waitForBlocked(1);
    caller.abort();
    expect(await call).toMatchObject({ code: Code.Canceled });
    await lock.release();
    // A retry at once could pass the statement that the lock has just let go, and be the first.
    const aggregates = () => aggregatesOf(service.database.pool, userId);
    await expect.poll(aggregates, { timeout: 10_000 }).toMatchObject({ entries: 1 });
    expect(await client().createEntry(entry)).toMatchObject({ alreadyExisted: true });
    expect(await aggregates()).toMatchObject({ entries: 1 });
  });
});

async function databaseClock(): Promise<Date> {
  const { rows } = await service.database.pool.query(
    "SELECT date_trunc('milliseconds', clock_timestamp()) AS now",
  );
  return rows[0].now;
}
