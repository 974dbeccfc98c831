import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);

const client = () => grpcClient(service.url);
const timestamp = timestampFromDate(new Date("2024-02-29T12:00:00Z"));

/** Entries of one learner, with word counts of 0, 1, 2 and so on. */
function entriesOf(userId: string, count: number) {
  return Array.from({ length: count }, (_, wordCount) => ({
    requestId: randomUUID() as string,
    userId,
    wordCount,
    timestamp,
  }));
}

test("BatchCreateEntries records a batch of 1000 entries, and a batch of one", async () => {
  for (const count of [1000, 1]) {
    const userId = randomUUID();
    const answer = await client().batchCreateEntries({ entries: entriesOf(userId, count) });
    expect(answer).toMatchObject({ createdCount: count, duplicateCount: 0, duplicates: [] });
    const words = (count * (count - 1)) / 2;
    expect(await aggregatesOf(service.database.pool, userId)).toEqual({ words, entries: count, rows: 1 });
  }
});

test("entries of a batch without a timestamp get the time of the call", async () => {
  const userId = randomUUID();
  const entries = entriesOf(userId, 2).map(({ timestamp: _, ...entry }) => entry);
  const before = BigInt(Date.now());
  await client().batchCreateEntries({ entries });
  const after = BigInt(Date.now());
  const listed = await client().listEntries({ userId });
  expect(listed.entries).toHaveLength(2);
  for (const { timestamp: stored } of listed.entries) {
    const ms = (stored?.seconds ?? 0n) * 1000n + BigInt((stored?.nanos ?? 0) / 1_000_000);
    expect(ms >= before && ms <= after).toBe(true);
  }
});

describe("a batch with an invalid entry is rejected as a whole:", () => {
  const secondsNow = BigInt(Math.floor(Date.now() / 1000));

  test.for([
    ["a missing word_count", "word_count", { wordCount: undefined }],
    ["a negative word_count", "word_count", { wordCount: -1 }],
    ["a request_id that is not a UUID", "request_id", { requestId: "42" }],
    ["an empty user_id", "user_id", { userId: "" }],
    ["a timestamp 25 hours ahead", "timestamp", { timestamp: { seconds: secondsNow + 25n * 3600n } }],
    ["a timestamp before 1970", "timestamp", { timestamp: { seconds: -1n } }],
    ["a timestamp with nanos out of range", "timestamp", { timestamp: { seconds: 1n, nanos: -5 } }],
  ] as const)("%s is reported as entries[3].%s", async ([, field, invalid]) => {
    const userId = randomUUID();
    const entries = entriesOf(userId, 6).map((entry, index) => ({ ...entry, ...(index === 3 && invalid) }));
    const error = await failureOf(client().batchCreateEntries({ entries }));
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual([`entries[3].${field}`]);
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 0 });
  });

  test("every violation of the schema is reported", async () => {
    const [first, second, third] = entriesOf(randomUUID(), 3);
    const entries = [{ ...first, userId: "" }, { ...second }, { ...third, requestId: "", wordCount: -1 }];
    const error = await failureOf(client().batchCreateEntries({ entries }));
    expect(violatedFields(error)).toEqual([
      "entries[0].user_id",
      "entries[2].request_id",
      "entries[2].word_count",
    ]);
  });
});

test("BatchCreateEntries rejects an empty batch, and a batch of 1001 entries", async () => {
  const userId = randomUUID();
  for (const count of [0, 1001]) {
    const error = await failureOf(client().batchCreateEntries({ entries: entriesOf(userId, count) }));
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual(["entries"]);
  }
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 0 });
});

describe("BatchCreateEntries reports as duplicates", () => {
  test("the entries already recorded, with index, payload_matches, and the learner's own stored entry", async () => {
    const userId = randomUUID();
    const [mine, changed, theirs, ...fresh] = entriesOf(userId, 5);
    const stored = await client().batchCreateEntries({
      entries: [{ ...mine }, { ...changed }, { ...theirs, userId: randomUUID() }],
    });
    expect(stored).toMatchObject({ createdCount: 3 });

    const answer = await client().batchCreateEntries({
      entries: [
        { ...fresh[0] },
        { ...mine, timestamp: undefined },
        { ...changed, wordCount: 99 },
        { ...theirs },
        { ...fresh[1] },
      ],
    });
    expect(answer).toMatchObject({
      createdCount: 2,
      duplicateCount: 3,
      duplicates: [
        { index: 1, conflict: { requestId: mine?.requestId, payloadMatches: true, existing: mine } },
        { index: 2, conflict: { requestId: changed?.requestId, payloadMatches: false, existing: changed } },
        { index: 3, conflict: { requestId: theirs?.requestId, payloadMatches: false } },
      ],
    });
    expect(answer.duplicates[2]?.conflict?.existing).toBeUndefined();
    // The two fresh entries have 3 and 4 words. The two that were recorded before have 0 and 1.
    expect(await aggregatesOf(service.database.pool, userId)).toEqual({
      words: 3 + 4 + 0 + 1,
      entries: 4,
      rows: 1,
    });
  });

  test("the later ones of several entries with the same request_id in one batch", async () => {
    const userId = randomUUID();
    const [first, other] = entriesOf(userId, 2);
    const again = { ...first, requestId: first?.requestId.toUpperCase() ?? "" };
    const answer = await client().batchCreateEntries({
      entries: [{ ...first }, { ...again }, { ...other }, { ...again, wordCount: 9 }],
    });
    expect(answer).toMatchObject({
      createdCount: 2,
      duplicateCount: 2,
      duplicates: [
        { index: 1, conflict: { requestId: first?.requestId, payloadMatches: true, existing: first } },
        { index: 3, conflict: { requestId: first?.requestId, payloadMatches: false, existing: first } },
      ],
    });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 2 });
  });

  test("980 of 1000 entries if 20 request_ids occur 50 times each with different counts", async () => {
    const userId = randomUUID();
    const distinct = entriesOf(userId, 20);
    const entries = Array.from({ length: 50 }, () => distinct)
      .flat()
      .map((entry, wordCount) => ({ ...entry, wordCount }));
    const answer = await client().batchCreateEntries({ entries });
    expect(answer).toMatchObject({ createdCount: 20, duplicateCount: 980 });
    const { entries: stored } = await client().listEntries({ userId });
    const wordsById = new Map(stored.map(({ requestId, wordCount }) => [requestId, wordCount]));
    expect(wordsById).toEqual(new Map(distinct.map(({ requestId, wordCount }) => [requestId, wordCount])));
  });

  test("all entries of a batch that is sent again, and changes nothing", async () => {
    const userId = randomUUID();
    const entries = entriesOf(userId, 1000);
    await client().batchCreateEntries({ entries });
    const answer = await client().batchCreateEntries({ entries });
    expect(answer).toMatchObject({ createdCount: 0, duplicateCount: 1000 });
    expect(answer.duplicates.map(({ index }) => index)).toEqual(entries.map((_, index) => index));
    expect(answer.duplicates.every(({ conflict }) => conflict?.payloadMatches)).toBe(true);
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 1000 });
  });
});

test("CreateEntry reports an entry of an earlier batch as a duplicate, and BatchCreateEntries vice versa", async () => {
  const [entry] = entriesOf(randomUUID(), 1);
  await client().batchCreateEntries({ entries: [{ ...entry }] });
  expect(await failureOf(client().createEntry({ ...entry }))).toMatchObject({ code: Code.AlreadyExists });
  const [other] = entriesOf(randomUUID(), 1);
  await client().createEntry({ ...other });
  expect(await client().batchCreateEntries({ entries: [{ ...other }] })).toMatchObject({ duplicateCount: 1 });
});

test("two concurrent batches with entries in common record each entry once", async () => {
  const userId = randomUUID();
  const entries = entriesOf(userId, 300);
  await using lock = await lockWrites(service.database);
  const answers = [entries.slice(0, 200), entries.slice(100).reverse()].map((batch) =>
    client().batchCreateEntries({ entries: batch }),
  );
  await lock.waitForBlocked(2);
  await lock.release();
  const [first, second] = await Promise.all(answers);
  expect((first?.createdCount ?? 0) + (second?.createdCount ?? 0)).toBe(300);
  expect((first?.duplicateCount ?? 0) + (second?.duplicateCount ?? 0)).toBe(100);
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 300 });
});
