import { randomUUID } from "node:crypto";
import { expect, test, vi } from "vitest";
import { grpcClient } from "../support/clients.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { lockTables } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";

// A stop waits for calls in flight, and a machine can be busy.
vi.setConfig({ testTimeout: 120_000 });

const database = useTestDatabase();

test("a SIGTERM ends a service whose write is stuck, without waiting for the database to give up", async () => {
  const service = startServiceProcess({ DATABASE_URL: database.url });
  const client = grpcClient(await service.url);
  await using lock = await lockTables(database);
  const call = client.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 1 });
  const answered = call.then(
    () => "recorded",
    () => "failed",
  );
  await lock.waitForBlocked(1);
  await expect(service.kill("SIGTERM")).resolves.toMatchObject({ code: 0, signal: null });
  await expect(answered).resolves.toBe("failed");
  // The database ends a statement after 30 seconds; this one it has not ended yet.
  await lock.waitForBlocked(1);
});
