import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { lockWrites } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

const database = useTestDatabase();
checkAggregatesAfterAll(database);

test("an instance that is stopping commits and answers the calls that are waiting for the database", async () => {
  const service = await startOwnService(database.url);
  const client = grpcClient(service.url);
  const userId = randomUUID();
  const entry = () => ({ requestId: randomUUID(), userId, wordCount: 1 });
  await using lock = await lockWrites(database);
  const calls = Array.from({ length: 100 }, () => client.createEntry(entry()));
  const batch = client.batchCreateEntries({ entries: [entry(), entry()] });
  // Two statements of single entries, and one of the batch. By then, the other calls have arrived, too.
  await lock.waitForBlocked(3);
  const stopped = service.stop();
  await lock.release();
  await Promise.all([...calls, batch]);
  await stopped;
  expect(await aggregatesOf(database.pool, userId)).toMatchObject({ entries: 102 });
});
