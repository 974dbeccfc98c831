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

test("CreateEntry returns the stored entry, and ListEntries returns the same entry", async () => {
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

test("CreateEntry adds the entry to the aggregates", async () => {
  const userId = randomUUID();
  for (const wordCount of [3, 0, 4]) {
    await client().createEntry({ requestId: randomUUID(), userId, wordCount, timestamp: leapDay });
  }
  expect(await aggregatesOf(service.database.pool, userId)).toEqual({ words: 7, entries: 3, rows: 1 });
});

test("an entry without a timestamp gets the time of the call", async () => {
  const before = new Date();
  const { entry } = await client().createEntry({ requestId: randomUUID(), userId: "u", wordCount: 1 });
  const after = new Date();
  const timestamp = timestampDate(entry?.timestamp ?? leapDay);
  expect(timestamp >= before && timestamp <= after).toBe(true);
});

test("a timestamp is truncated to microseconds, and a retry with the finer timestamp matches", async () => {
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

test("a request_id in upper case is the same as in lower case", async () => {
  const requestId = randomUUID();
  const sent = { userId: randomUUID(), wordCount: 1 };
  const { entry } = await client().createEntry({ ...sent, requestId: requestId.toUpperCase() });
  expect(entry).toMatchObject({ requestId });
  const error = await failureOf(client().createEntry({ ...sent, requestId }));
  expect(error).toMatchObject({ code: Code.AlreadyExists });
  expect(conflictOf(error)).toMatchObject({ requestId, payloadMatches: true });
});

test("an entry of 0 words is recorded, and an entry without word_count is rejected", async () => {
  const { entry } = await client().createEntry({ requestId: randomUUID(), userId: "u", wordCount: 0 });
  expect(entry).toMatchObject({ wordCount: 0 });
  const error = await failureOf(client().createEntry({ requestId: randomUUID(), userId: "u" }));
  expect(error).toMatchObject({ code: Code.InvalidArgument });
  expect(violatedFields(error)).toEqual(["word_count"]);
});

test("a user_id of up to 128 characters of any script is stored unchanged", async () => {
  for (const userId of ["😀".repeat(128), " a b\t", "é", "e\u0301", "'; DROP TABLE learning_log; --"]) {
    const { entry } = await client().createEntry({ requestId: randomUUID(), userId, wordCount: 1 });
    expect(entry).toMatchObject({ userId });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 1 });
  }
});

describe("CreateEntry rejects an invalid entry, names the field, and records nothing:", () => {
  const secondsNow = BigInt(Math.floor(Date.now() / 1000));
  const hour = 3600n;

  test.for([
    ["a request_id that is not a UUID", "request_id", { requestId: "42" }],
    ["a request_id without hyphens", "request_id", { requestId: randomUUID().replaceAll("-", "") }],
    ["an empty user_id", "user_id", { userId: "" }],
    ["a user_id of 129 characters", "user_id", { userId: "a".repeat(129) }],
    ["a user_id that contains NUL", "user_id", { userId: "a\0b" }],
    ["a negative word_count", "word_count", { wordCount: -1 }],
    ["a timestamp before 1970", "timestamp", { timestamp: { seconds: -1n, nanos: 0 } }],
    ["a timestamp 25 hours ahead", "timestamp", { timestamp: { seconds: secondsNow + 25n * hour } }],
    ["a timestamp of 2^63 - 1 seconds", "timestamp", { timestamp: { seconds: 2n ** 63n - 1n } }],
    ["negative nanos", "timestamp", { timestamp: { seconds: secondsNow, nanos: -1 } }],
    ["nanos of a whole second", "timestamp", { timestamp: { seconds: secondsNow, nanos: 1_000_000_000 } }],
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

test("CreateEntry accepts the first timestamp of 1970, and one 23 hours ahead", async () => {
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

describe("a caller that stops waiting", () => {
  test("gets DEADLINE_EXCEEDED while its entry is queued, and nothing is recorded", async () => {
    await using lock = await lockWrites(service.database);
    const [first, second, third] = [1, 2, 3].map((wordCount) => ({
      requestId: randomUUID(),
      userId: randomUUID(),
      wordCount,
    }));
    // These two entries occupy both statements that may be in flight.
    const sent = [client().createEntry({ ...first }), client().createEntry({ ...second })];
    await lock.waitForBlocked(2);
    const connection = client();
    const error = await failureOf(connection.createEntry({ ...third }, { timeoutMs: 200 }));
    expect(error).toMatchObject({ code: Code.DeadlineExceeded });
    // This call follows the cancellation on the same connection. So when it is answered, the cancellation has arrived.
    await connection.listEntries({ userId: third?.userId ?? "" });
    await lock.release();
    await Promise.all(sent);
    expect(await client().createEntry({ ...third })).toMatchObject({ alreadyExisted: false });
  });

  test("gets CANCELED after its entry was sent to the database, and a retry finds the entry recorded", async () => {
    const userId = randomUUID();
    const entry = { requestId: randomUUID(), userId, wordCount: 1, onConflict: ConflictPolicy.IGNORE };
    const caller = new AbortController();
    await using lock = await lockWrites(service.database);
    const call = failureOf(client().createEntry(entry, { signal: caller.signal }));
    await lock.waitForBlocked(1);
    caller.abort();
    expect(await call).toMatchObject({ code: Code.Canceled });
    await lock.release();
    // An immediate retry could overtake the statement that was waiting for the lock, and create the entry.
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
