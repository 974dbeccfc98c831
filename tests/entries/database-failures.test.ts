import { randomUUID } from "node:crypto";
import { Code, type ConnectError, createClient } from "@connectrpc/connect";
import { beforeAll, expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient, transports } from "../support/clients.ts";
import { failureOf } from "../support/failures.ts";
import { useTestService } from "../support/test-service.ts";

// What callers see when the database rejects a row that the service considers valid.

const service = useTestService();
checkAggregatesAfterAll(service.database);

beforeAll(async () => {
  await service.database.pool.query(
    "ALTER TABLE learning_log ADD CONSTRAINT secret_name CHECK (user_id NOT LIKE 'poison%')",
  );
});

test("if the database rejects one of many entries, its call gets INTERNAL, and the others are recorded", async () => {
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

test.for(Object.keys(transports))("INTERNAL over %s reveals nothing about the database", async (name) => {
  const client = createClient(LearningLogService, transports[name]?.(service.url) ?? fail(name));
  const poisoned = { requestId: randomUUID(), userId: "poison", wordCount: 1 };
  expectInternal(await failureOf(client.createEntry(poisoned)));
  expectInternal(await failureOf(client.batchCreateEntries({ entries: [poisoned] })));
});

test("a batch with a row that the database rejects records nothing", async () => {
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

test("an import fails if the database rejects a batch, and acknowledged batches remain recorded", async () => {
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

/** Expects INTERNAL, with only an id that can be looked up in the log. */
function expectInternal(error: ConnectError): void {
  expect(error).toMatchObject({ code: Code.Internal, details: [] });
  expect(error.rawMessage).toMatch(/^internal error [0-9a-f-]{36}$/);
}

function fail(name: string): never {
  throw new Error(`no transport ${name}`);
}
