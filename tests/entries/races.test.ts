import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { unknownWatches } from "../../src/changes/watched-learners.ts";
import { insertEntries } from "../../src/entries/sql/insert-entries.ts";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { conflictOf } from "../support/failures.ts";
import { useTwoServices } from "../support/test-service.ts";

const services = useTwoServices();
checkAggregatesAfterAll(services.database);

const timestamp = timestampFromDate(new Date("2024-02-29T12:00:00Z"));

test("of 200 concurrent calls with one request_id on two instances, one succeeds, and counts once", async () => {
  const { a, b, database } = services;
  const sent = { requestId: randomUUID(), userId: randomUUID(), wordCount: 5, timestamp };
  const outcomes = await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      (index % 2 === 0 ? a : b).createEntry(sent).catch(ConnectError.from),
    ),
  );
  const lost = outcomes.filter((outcome) => outcome instanceof ConnectError);
  expect(lost).toHaveLength(199);
  for (const error of lost) {
    expect(error).toMatchObject({ code: Code.AlreadyExists });
    expect(conflictOf(error)).toMatchObject({ payloadMatches: true });
  }
  expect(await aggregatesOf(database.pool, sent.userId)).toEqual({ words: 5, entries: 1, rows: 1 });
});

test("concurrent calls with one request_id and different entries all get the entry that was created", async () => {
  const { a, b } = services;
  const userId = randomUUID();
  for (let round = 0; round < 20; round += 1) {
    const requestId = randomUUID();
    const outcomes = await Promise.all(
      [a, b, a, b].map((client, wordCount) =>
        client.createEntry({ requestId, userId, wordCount, timestamp }).catch(ConnectError.from),
      ),
    );
    const [won] = outcomes.flatMap((outcome) => (outcome instanceof ConnectError ? [] : outcome.entry));
    const seen = outcomes.flatMap((outcome) =>
      outcome instanceof ConnectError ? conflictOf(outcome)?.existing : [],
    );
    expect(seen).toEqual([won, won, won]);
  }
});

test("two instances that write the same keys in opposite order record each entry once, without an error", async () => {
  const { a, b, database } = services;
  const users = Array.from({ length: 50 }, () => randomUUID());
  const rounds = 25;
  for (let round = 0; round < rounds; round += 1) {
    const entries = users.flatMap((userId) =>
      [0, 1].map((quarter) => ({
        requestId: randomUUID(),
        userId,
        wordCount: 1,
        timestamp: { ...timestamp, seconds: timestamp.seconds + BigInt(quarter * 900) },
      })),
    );
    const others = entries.map((entry) => ({ ...entry, requestId: randomUUID() })).reverse();
    const answers = await Promise.all([
      a.batchCreateEntries({ entries }),
      b.batchCreateEntries({ entries: entries.toReversed() }),
      a.batchCreateEntries({ entries: others }),
      b.batchCreateEntries({ entries: others.toReversed() }),
    ]);
    expect(answers.reduce((sum, { createdCount }) => sum + createdCount, 0)).toBe(200);
    expect(answers.reduce((sum, { duplicateCount }) => sum + duplicateCount, 0)).toBe(200);
  }
  for (const userId of users) {
    expect(await aggregatesOf(database.pool, userId)).toEqual({
      words: rounds * 4,
      entries: rounds * 4,
      rows: 2,
    });
  }
});

test("statements that write the same keys in opposite order wait for each other without a deadlock", async () => {
  const users = Array.from({ length: 40 }, () => randomUUID());
  for (let round = 0; round < 25; round += 1) {
    const entries = users.map((userId) => ({
      requestId: randomUUID(),
      userId,
      wordCount: 1,
      timestamp: 1_709_208_000_000_000n,
    }));
    const others = entries.map((entry) => ({ ...entry, requestId: randomUUID() }));
    // The service's statements, without its retries after a deadlock.
    const insertions = await Promise.all(
      [entries, entries.toReversed(), others, others.toReversed()].map((batch) =>
        insertEntries(services.database.connections, batch, unknownWatches),
      ),
    );
    expect(insertions.reduce((sum, created) => sum + created.length, 0)).toBe(80);
  }
});

test("concurrent creates and deletes keep the aggregates correct, and cause no unexpected error", async () => {
  const { a, b, database } = services;
  const userId = randomUUID();
  const requestIds = Array.from({ length: 5 }, () => randomUUID());
  let created = 0;
  let deleted = 0;
  const expected = [Code.AlreadyExists, Code.NotFound];
  const worker = async (index: number) => {
    const client = index % 2 === 0 ? a : b;
    for (let step = 0; step < 6; step += 1) {
      const requestId = requestIds[(index + step) % requestIds.length] ?? "";
      try {
        if ((index + step) % 3 > 0) {
          await client.createEntry({ requestId, userId, wordCount: 3, timestamp });
          created += 1;
        } else {
          await client.deleteEntry({ requestId });
          deleted += 1;
        }
      } catch (error) {
        if (!expected.includes(ConnectError.from(error).code)) throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: 24 }, (_, index) => worker(index)));
  const { words, entries } = await aggregatesOf(database.pool, userId);
  expect({ words, entries }).toEqual({ words: (created - deleted) * 3, entries: created - deleted });
});
