import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, createClient } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { transports } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);

const timestamp = timestampFromDate(new Date("2024-02-29T12:00:00Z"));

// A bidirectional stream needs HTTP/2. gRPC-Web does not support it.
describe.for(["gRPC over HTTP/2", "Connect over HTTP/2"])("an import over %s", (name) => {
  const client = () => createClient(LearningLogService, transports[name]?.(service.url) ?? fail(name));

  test("gets one acknowledgement per batch, in order, each after its commit", async () => {
    const userId = randomUUID();
    const sizes = [3, 1, 1000, 2, 5];
    const acknowledged: number[] = [];
    for await (const { createdCount, duplicateCount } of client().importEntries(batchesOf(userId, sizes))) {
      acknowledged.push(createdCount);
      expect(duplicateCount).toBe(0);
      const { entries } = await aggregatesOf(service.database.pool, userId);
      expect(entries).toBeGreaterThanOrEqual(sum(acknowledged));
    }
    expect(acknowledged).toEqual(sizes);
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: sum(sizes) });
  });

  test("gets the acknowledgement of a batch before it sends the next one", async () => {
    const userId = randomUUID();
    let acknowledged = Promise.withResolvers<void>();
    async function* oneByOne() {
      for (let index = 0; index < 5; index += 1) {
        acknowledged = Promise.withResolvers();
        yield { entries: entriesOf(userId, 1) };
        await acknowledged.promise;
      }
    }
    let count = 0;
    for await (const _ of client().importEntries(oneByOne())) {
      count += 1;
      expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: count });
      acknowledged.resolve();
    }
    expect(count).toBe(5);
  });

  test("reports entries that are sent again as duplicates", async () => {
    const userId = randomUUID();
    const batch = { entries: entriesOf(userId, 2) };
    async function* twice() {
      yield batch;
      yield { entries: [...batch.entries, ...entriesOf(userId, 1)] };
    }
    const answers = await Array.fromAsync(client().importEntries(twice()));
    expect(answers).toMatchObject([
      { createdCount: 2, duplicateCount: 0 },
      {
        createdCount: 1,
        duplicateCount: 2,
        duplicates: [
          { index: 0, conflict: { payloadMatches: true } },
          { index: 1, conflict: { payloadMatches: true } },
        ],
      },
    ]);
  });

  test.for([
    ["a negative word_count", "entries[1].word_count", { wordCount: -1 }],
    ["a timestamp 25 hours ahead", "entries[1].timestamp", { timestamp: hoursAhead(25) }],
  ] as const)("fails at a batch with %s, and keeps the acknowledged batches", async ([, path, invalid]) => {
    const userId = randomUUID();
    async function* batches() {
      yield* batchesOf(userId, [2, 3]);
      yield {
        entries: entriesOf(userId, 2).map((entry, index) => ({ ...entry, ...(index === 1 && invalid) })),
      };
      yield* batchesOf(userId, [4]);
    }
    const acknowledged: number[] = [];
    const importing = async () => {
      for await (const { createdCount } of client().importEntries(batches())) acknowledged.push(createdCount);
    };
    const error = await failureOf(importing());
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect(violatedFields(error)).toEqual([path]);
    expect(acknowledged).toEqual([2, 3]);
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 5 });
  });

  test("fails at an empty batch, and at a batch of 1001 entries", async () => {
    for (const size of [0, 1001]) {
      const importing = Array.fromAsync(client().importEntries(batchesOf(randomUUID(), [size])));
      const error = await failureOf(importing);
      expect(error).toMatchObject({ code: Code.InvalidArgument });
      expect(violatedFields(error)).toEqual(["entries"]);
    }
  });

  test("succeeds without any batch", async () => {
    expect(await Array.fromAsync(client().importEntries(batchesOf(randomUUID(), [])))).toEqual([]);
  });

  test("keeps the acknowledged batches if its client cancels, and the service accepts further imports", async () => {
    const userId = randomUUID();
    const caller = new AbortController();
    async function* endless() {
      for (;;) yield { entries: entriesOf(userId, 10) };
    }
    let acknowledged = 0;
    const importing = async () => {
      const options = { signal: caller.signal };
      for await (const { createdCount } of client().importEntries(endless(), options)) {
        acknowledged += createdCount;
        if (acknowledged === 50) caller.abort();
      }
    };
    expect(await failureOf(importing())).toMatchObject({ code: Code.Canceled });
    const { entries } = await aggregatesOf(service.database.pool, userId);
    expect(entries).toBeGreaterThanOrEqual(50);
    expect(entries % 10).toBe(0);
    const other = randomUUID();
    await Array.fromAsync(client().importEntries(batchesOf(other, [1])));
    expect(await aggregatesOf(service.database.pool, other)).toMatchObject({ entries: 1 });
  });

  test("slows down a client that sends faster than the database writes, and loses no entry", async () => {
    const userId = "x".repeat(128 - 36) + randomUUID();
    const sizes: number[] = Array(150).fill(50);
    let asked = 0;
    async function* counted() {
      for await (const batch of batchesOf(userId, sizes)) {
        asked += 1;
        yield batch;
      }
    }
    await using lock = await lockWrites(service.database);
    const importing = Array.fromAsync(client().importEntries(counted()));
    await lock.waitForBlocked(1);
    // Without backpressure, the client would send everything in this time.
    await sleep(500);
    expect(asked).toBeLessThan(75);
    await lock.release();
    expect(await importing).toHaveLength(150);
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: sum(sizes) });
  });
});

async function* batchesOf(userId: string, sizes: readonly number[]) {
  for (const size of sizes) yield { entries: entriesOf(userId, size) };
}

function entriesOf(userId: string, size: number) {
  return Array.from({ length: size }, () => ({ requestId: randomUUID(), userId, wordCount: 1, timestamp }));
}

function hoursAhead(hours: number) {
  return timestampFromDate(new Date(Date.now() + hours * 3_600_000));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function fail(name: string): never {
  throw new Error(`no transport ${name}`);
}
