import { randomUUID } from "node:crypto";
import { Code, type ConnectError, createClient } from "@connectrpc/connect";
import { beforeAll, expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient, transports } from "../support/clients.ts";
import { failureOf } from "../support/failures.ts";
import { useTestService } from "../support/test-service.ts";

// What callers see when the database refuses a row for reasons of its own.

const service = useTestService();
checkAggregatesAfterAll(service.database);

beforeAll(async () => {
  await service.database.pool.query(
    "ALTER TABLE learning_log ADD CONSTRAINT secret_name CHECK (user_id NOT LIKE 'poison%')",
  );
});

test("one of many calls at once fails with INTERNAL, and its neighbours are recorded", async () => {
  const client = grpcClient(service.url);
  const userId = randomUUID();
  const good = Array.from({ length: 40 }, () =>
    client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }),
  );
  const bad = client.createEntry({ requestId: randomUUID(), userId: `poison ${userId}`, wordCount: 1 });
  const more = Array.from({ length: 40 }, () =>
    client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }),
  );
  expectInternal(await failureOf(bad));
  await Promise.all([...good, ...more]);
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 80 });
});

test.for(Object.keys(transports))("INTERNAL tells nothing of the database over %s", async (name) => {
  const client = createClient(LearningLogService, transports[name]?.(service.url) ?? fail(name));
  const poisoned = { requestId: randomUUID(), userId: "poison", wordCount: 1 };
  expectInternal(await failureOf(client.createEntry(poisoned)));
  expectInternal(await failureOf(client.batchCreateEntries({ entries: [poisoned] })));
});

test("a batch that fails in the database writes nothing", async () => {
  const client = grpcClient(service.url);
  const userId = randomUUID();
  const entry = () => ({ requestId: randomUUID(), userId, wordCount: 1 });
  const entries = [entry(), { ...entry(), userId: "poison" }, entry()];
  expectInternal(await failureOf(client.batchCreateEntries({ entries })));
  const { rowCount } = await service.database.pool.query("SELECT FROM learning_log WHERE user_id = $1", [
    userId,
  ]);
  expect(rowCount).toBe(0);
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ rows: 0 });
});

test("a batch of an import that fails in the database ends the stream, and what was acknowledged stands", async () => {
  const client = grpcClient(service.url);
  const userId = randomUUID();
  const entry = () => ({ requestId: randomUUID(), userId, wordCount: 1 });
  const acknowledged: number[] = [];
  const importing = async () => {
    async function* batches() {
      yield { entries: [entry(), entry()] };
      yield { entries: [entry(), { ...entry(), userId: "poison" }] };
    }
    for await (const { createdCount } of client.importEntries(batches())) acknowledged.push(createdCount);
  };
  const error = await failureOf(importing());
  expect(error).toMatchObject({ code: Code.Internal, details: [] });
  expect(error.rawMessage).toMatch(/^internal error\b[ 0-9a-f-]*$/);
  expect(acknowledged).toEqual([2]);
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 2 });
});

/** INTERNAL, with nothing but an id to look for in the log. */
function expectInternal(error: ConnectError): void {
  expect(error).toMatchObject({ code: Code.Internal, details: [] });
  expect(error.rawMessage).toMatch(/^internal error [0-9a-f-]{36}$/);
}

function fail(name: string): never {
  throw new Error(`no transport ${name}`);
}
