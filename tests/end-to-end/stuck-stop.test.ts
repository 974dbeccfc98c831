import { randomUUID } from "node:crypto";
import { expect, onTestFinished, test, vi } from "vitest";
import { grpcClient } from "../support/clients.ts";
import { killPostgres, makeDataDir, postmasterPid, useDataTemplate } from "../support/data-folder.ts";
import { launchServiceProcess } from "../support/service-process.ts";
import { lockTables } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";

// A stop waits for calls in flight, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

const database = useTestDatabase();
const template = useDataTemplate();

test("a SIGTERM ends a service with a blocked write before the database's timeout", async () => {
  const { service, answered } = await startStuckWrite();
  await expect(service.kill("SIGTERM")).resolves.toMatchObject({ code: 0, signal: null });
  // The lock is still held.
  await expect(answered).resolves.toBe("failed");
});

test("a second signal ends a service that is still stopping", async () => {
  const { service, answered } = await startStuckWrite();
  // A signal soon after the first one is ignored, because Ctrl-C sends two under npm.
  const signals = setInterval(() => service.kill("SIGINT"), 100);
  try {
    await expect(service.ended).resolves.toEqual({ code: 1, signal: null, stderr: "" });
  } finally {
    clearInterval(signals);
  }
  await expect(answered).resolves.toBe("failed");
});

test("a SIGTERM ends a service whose PostgreSQL does not stop", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const service = launchServiceProcess({ DATA_DIR });
  await service.listening;
  const pid = await postmasterPid(DATA_DIR);
  process.kill(pid, "SIGSTOP");
  onTestFinished(async () => {
    process.kill(pid, "SIGCONT");
    await killPostgres(DATA_DIR, "SIGQUIT");
  });
  const start = performance.now();
  await expect(service.kill("SIGTERM")).resolves.toEqual({ code: 1, signal: null, stderr: "" });
  // The default timeout of pg_ctl is 60 seconds.
  expect(performance.now() - start).toBeLessThan(45_000);
});

/** Starts a service, and a write that waits for a lock. The lock is released when the test finishes. */
async function startStuckWrite() {
  const service = launchServiceProcess({ DATABASE_URL: database.url });
  const client = grpcClient(await service.listening);
  const lock = await lockTables(database);
  onTestFinished(() => lock.release());
  const call = client.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 1 });
  const answered = call.then(
    () => "recorded",
    () => "failed",
  );
  await lock.waitForBlocked(1);
  return { service, answered };
}
