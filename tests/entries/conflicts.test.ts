import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { describe, expect, test, vi } from "vitest";
import { ConflictPolicy } from "#gen/dailyaggregator/v1/entry_pb.js";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { conflictOf, failureOf } from "../support/failures.ts";
import { waitForNotifications } from "../support/notification-links.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestService } from "../support/test-service.ts";

const timestamp = timestampFromDate(new Date("2024-02-29T12:00:00.123Z"));

describe("with a request_id that the instance remembers,", () => {
  const service = useTestService();
  describeConflicts(service);

  test("a retry is answered while all writes are blocked in the database", async () => {
    const client = grpcClient(service.url);
    await waitForNotifications(service.database, 1);
    const sent = { requestId: randomUUID(), userId: randomUUID(), wordCount: 5 };
    const { entry } = await client.createEntry(sent);
    await using _ = await lockWrites(service.database);
    // Repeated, because an instance that was busy answers from memory only after its next heartbeat is received.
    await vi.waitFor(
      async () => {
        const error = await failureOf(client.createEntry(sent, { timeoutMs: 1000 }));
        expect(conflictOf(error)).toMatchObject({ payloadMatches: true, existing: entry });
      },
      { timeout: 20_000 },
    );
  });
});

describe("with a request_id that only the database knows,", () => {
  describeConflicts(useTestService({ recentEntries: 0 }));
});

function describeConflicts(service: ReturnType<typeof useTestService>): void {
  checkAggregatesAfterAll(service.database);
  const client = () => grpcClient(service.url);
  const newEntry = () => ({ requestId: randomUUID(), userId: randomUUID(), wordCount: 5, timestamp });

  test.for([
    ["the same entry", true, {}],
    ["the same entry without a timestamp", true, { timestamp: undefined }],
    ["the same entry with a finer timestamp", true, { timestamp: { ...timestamp, nanos: 123_000_999 } }],
    ["an entry with another word_count", false, { wordCount: 6 }],
    ["an entry with another timestamp", false, { timestamp: { ...timestamp, nanos: 123_001_000 } }],
    ["an entry with another word_count and no timestamp", false, { wordCount: 6, timestamp: undefined }],
  ] as const)(
    "%s gets ALREADY_EXISTS with payload_matches %s and the stored entry",
    async ([, payloadMatches, changes]) => {
      const first = newEntry();
      const { entry } = await client().createEntry(first);
      const error = await failureOf(client().createEntry({ ...first, ...changes }));
      expect(error).toMatchObject({ code: Code.AlreadyExists });
      expect(conflictOf(error)).toMatchObject({
        requestId: first.requestId,
        payloadMatches,
        existing: entry,
      });
      const stored = { words: first.wordCount, entries: 1, rows: 1 };
      expect(await aggregatesOf(service.database.pool, first.userId)).toEqual(stored);
    },
  );

  test("a request_id that was sent in upper case matches, and is returned in lower case", async () => {
    const first = newEntry();
    await client().createEntry({ ...first, requestId: first.requestId.toUpperCase() });
    const error = await failureOf(client().createEntry(first));
    expect(conflictOf(error)).toMatchObject({ requestId: first.requestId, payloadMatches: true });
  });

  test("a retry does not match an entry sent without a timestamp if its own is not the assigned one", async () => {
    const first = { ...newEntry(), timestamp: undefined };
    await client().createEntry(first);
    const error = await failureOf(client().createEntry({ ...first, timestamp }));
    expect(conflictOf(error)).toMatchObject({ payloadMatches: false });
  });

  test("another learner's request_id gets ALREADY_EXISTS, and nothing of that entry is revealed", async () => {
    const first = newEntry();
    await client().createEntry(first);
    const userId = randomUUID();
    for (const onConflict of [ConflictPolicy.UNSPECIFIED, ConflictPolicy.ERROR, ConflictPolicy.IGNORE]) {
      const error = await failureOf(client().createEntry({ ...first, userId, onConflict }));
      expect(error).toMatchObject({ code: Code.AlreadyExists });
      expect(conflictOf(error)).toMatchObject({ requestId: first.requestId, payloadMatches: false });
      expect(conflictOf(error)?.existing).toBeUndefined();
      expect(error.message).not.toContain(first.userId);
    }
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ rows: 0 });
  });

  test("CONFLICT_POLICY_IGNORE returns the stored entry and already_existed, even if the new one differs", async () => {
    const first = { ...newEntry(), onConflict: ConflictPolicy.IGNORE };
    const { entry, alreadyExisted } = await client().createEntry(first);
    expect(alreadyExisted).toBe(false);
    for (const changes of [{}, { wordCount: 6 }, { timestamp: undefined }]) {
      const answer = await client().createEntry({ ...first, ...changes });
      expect(answer).toMatchObject({ entry, alreadyExisted: true });
    }
    const stored = { words: first.wordCount, entries: 1, rows: 1 };
    expect(await aggregatesOf(service.database.pool, first.userId)).toEqual(stored);
  });
}
