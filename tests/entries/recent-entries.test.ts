import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, onTestFinished, test, vi } from "vitest";
import { Notifications } from "../../src/database/notifications.ts";
import { RecentEntries } from "../../src/entries/recent-entries.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { checkAggregatesAfterAll } from "../support/aggregates.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { failureOf } from "../support/failures.ts";
import { cutNotifications, waitForNotifications } from "../support/notification-links.ts";
import { Random, seed } from "../support/random.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTwoServices } from "../support/test-service.ts";

// An instance remembers the entries that it recorded. It must not return them after another instance deleted them.

const services = useTwoServices();
const { database } = services;
checkAggregatesAfterAll(database);

const timestamp = timestampFromDate(new Date("2024-02-29T12:00:00Z"));
const oneWord = (userId = randomUUID() as string) => ({
  requestId: randomUUID() as string,
  userId,
  wordCount: 1,
  timestamp,
});

type Entry = ReturnType<typeof oneWord>;

test("when one instance deletes an entry, the other, which remembered it, can record it again at once", async () => {
  const { a, b } = services;
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      const entry = oneWord();
      await b.createEntry(entry);
      await expectKnown(b, entry);
      for (let round = 0; round < 2; round += 1) {
        await a.deleteEntry({ requestId: entry.requestId.toUpperCase() });
        expect(await b.createEntry(entry)).toMatchObject({ alreadyExisted: false });
        await expectKnown(b, entry);
      }
    }),
  );
});

test("when one instance deletes a learner's entries, both instances forget these entries, and no others", async () => {
  const { a, b } = services;
  await waitForNotifications(database, 2);
  const userId = randomUUID();
  const entries = Array.from({ length: 10 }, () => oneWord(userId));
  const other = oneWord();
  for (const entry of [...entries, other]) {
    await b.createEntry(entry);
    await expectKnown(a, entry);
  }
  await a.deleteUserEntries({ userId });
  for (const [index, entry] of entries.entries()) {
    expect(await (index % 2 === 0 ? a : b).createEntry(entry)).toMatchObject({ alreadyExisted: false });
  }
  // Both instances still remember the other entry: with writes blocked, they can answer only from memory.
  await using _ = await lockWrites(database);
  for (const client of [a, b]) {
    await vi.waitFor(() => expectKnown(client, other, 1000), { timeout: 20_000 });
  }
});

test("an instance whose notification connection breaks never reports a deleted entry as a duplicate", async () => {
  const { a, b } = services;
  let done = false;
  const random = new Random(seed);
  const cutting = (async () => {
    while (!done) {
      await cutNotifications(database);
      await sleep(random.integer(0, 400));
    }
  })();
  const working = Promise.all(
    Array.from({ length: 10 }, async () => {
      const entry = oneWord();
      for (let round = 0; round < 3; round += 1) {
        expect(await b.createEntry(entry)).toMatchObject({ alreadyExisted: false });
        await expectKnown(b, entry);
        await a.deleteEntry({ requestId: entry.requestId });
      }
    }),
  ).finally(() => {
    done = true;
  });
  await Promise.all([working, cutting]);
});

test("an instance that receives notifications again has forgotten entries deleted in the meantime", async () => {
  const { a, b } = services;
  await waitForNotifications(database, 2);
  const entry = oneWord();
  await b.createEntry(entry);
  await cutNotifications(database);
  await a.deleteEntry({ requestId: entry.requestId });
  await waitForNotifications(database, 2);
  expect(await b.createEntry(entry)).toMatchObject({ alreadyExisted: false });
});

test("an entry that was read before its deletion is not remembered afterwards", async () => {
  const recent = await openRecentEntries();
  const stored = storedEntry();
  const { requestId, userId } = stored;
  for (const notice of [{ requestId }, { userId }]) {
    const { epoch } = recent;
    recent.forget(notice);
    recent.add([stored], epoch);
    expect(recent.get(requestId)).toBeUndefined();
    recent.add([stored], recent.epoch);
    expect(recent.get(requestId)).toEqual(stored);
    recent.forget(notice);
    expect(recent.get(requestId)).toBeUndefined();
  }
});

test("when a learner's entries are deleted, the entries of other learners stay remembered", async () => {
  const recent = await openRecentEntries();
  const [before, meanwhile] = [storedEntry(), storedEntry()];
  recent.add([before], recent.epoch);
  const { epoch } = recent;
  recent.forget({ userId: randomUUID() });
  recent.forget({ requestId: randomUUID() });
  recent.add([meanwhile], epoch);
  expect(recent.get(before.requestId)).toEqual(before);
  expect(recent.get(meanwhile.requestId)).toEqual(meanwhile);
});

test("a deleted entry stays forgotten after 10,000 more deletions, and later entries are remembered", async () => {
  const recent = await openRecentEntries();
  const deleted = storedEntry();
  recent.add([deleted], recent.epoch);
  const { epoch } = recent;
  recent.forget({ userId: deleted.userId });
  for (let count = 0; count < 10_000; count += 1) recent.forget({ userId: `nobody ${count}` });
  expect(recent.get(deleted.requestId)).toBeUndefined();
  recent.add([deleted], epoch);
  expect(recent.get(deleted.requestId)).toBeUndefined();
  const later = storedEntry();
  recent.add([later], recent.epoch);
  expect(recent.get(later.requestId)).toEqual(later);
});

test("deleting learners without entries does not scan all remembered entries", async () => {
  const recent = await openRecentEntries(100_000);
  recent.add(Array.from({ length: 100_000 }, storedEntry), recent.epoch);
  const start = performance.now();
  for (let count = 0; count < 500; count += 1) recent.forget({ userId: `nobody ${count}` });
  // A scan of all entries would take several hundredths of a second for each deletion.
  expect(performance.now() - start).toBeLessThan(5_000);
});

test("once either of two concurrent deletions responds, even with NOT_FOUND, the entry can be recreated", async () => {
  const { a, b } = services;
  const removals = [
    ({ requestId }: Entry) => a.deleteEntry({ requestId }),
    ({ userId }: Entry) => a.deleteUserEntries({ userId }),
  ];
  for (let round = 0; round < 3; round += 1) {
    await waitForNotifications(database, 2);
    const entries = removals.map(() => oneWord());
    for (const entry of entries) await b.createEntry(entry);
    await cutNotifications(database);
    await Promise.all(
      removals.map(async (remove, index) => {
        const entry = entries[index] ?? oneWord();
        // One call deletes the entry, and the other gets NOT_FOUND.
        const deletions = [1, 2].map(() => remove(entry).catch(ConnectError.from));
        await Promise.race(deletions);
        expect(await b.createEntry(entry)).toMatchObject({ alreadyExisted: false });
        await Promise.all(deletions);
      }),
    );
  }
});

test("after concurrent creates and deletes of an entry, both instances agree with the database", async () => {
  const { a, b } = services;
  await Promise.all(
    Array.from({ length: 15 }, async () => {
      const entry = oneWord();
      for (let round = 0; round < 3; round += 1) {
        const deletion = { requestId: entry.requestId };
        await Promise.allSettled([b.createEntry(entry), a.deleteEntry(deletion), b.createEntry(entry)]);
        const { rowCount } = await database.pool.query("SELECT FROM learning_log WHERE request_id = $1", [
          entry.requestId,
        ]);
        for (const client of [a, b]) {
          const outcome = await client.createEntry(entry).catch(ConnectError.from);
          if (rowCount === 0 && client === a) expect(outcome).toMatchObject({ alreadyExisted: false });
          else expect(outcome).toMatchObject({ code: Code.AlreadyExists });
        }
      }
    }),
  );
});

test("an invalid message on the channel for deletions causes no wrong response", async () => {
  const { a, b } = services;
  const entry = oneWord();
  await b.createEntry(entry);
  await waitForNotifications(database, 2);
  for (const payload of ["garbage", "", "42", "null", '"text"', "{}"]) {
    await database.pool.query("SELECT pg_notify('daily_aggregator_deletions', $1)", [payload]);
  }
  await expectKnown(b, entry);
  await a.deleteEntry({ requestId: entry.requestId });
  expect(await b.createEntry(entry)).toMatchObject({ alreadyExisted: false });
});

/** Creates a separate cache, which is notified of the deletions of both services. */
async function openRecentEntries(max = 10): Promise<RecentEntries> {
  const notifications = new Notifications(database.url, createLog("silent"));
  onTestFinished(() => notifications.close());
  const recent = new RecentEntries(notifications, max);
  notifications.start();
  await vi.waitFor(() => expect(notifications.isCurrent()).toBe(true), { timeout: 20_000, interval: 10 });
  return recent;
}

function storedEntry() {
  const { requestId, userId, wordCount } = oneWord();
  return { requestId, userId, wordCount, timestamp: 1n, createTime: 2n };
}

async function expectKnown(client: LearningLogClient, entry: Entry, timeoutMs = 30_000): Promise<void> {
  expect(await failureOf(client.createEntry(entry, { timeoutMs }))).toMatchObject({
    code: Code.AlreadyExists,
  });
}
