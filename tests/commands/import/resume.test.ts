import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { importRows } from "../../../src/commands/import/import-rows.ts";
import type { Row } from "../../../src/commands/import/read-rows.ts";
import { aggregatesOf, checkAggregatesAfterAll } from "../../support/aggregates.ts";
import { grpcClient } from "../../support/clients.ts";
import { proxyTo } from "../../support/proxied-server.ts";
import { lockWrites } from "../../support/table-locks.ts";
import { useTestDatabase } from "../../support/test-database.ts";
import { startOwnService } from "../../support/test-service.ts";

// The imports wait before they retry.
vi.setConfig({ testTimeout: 60_000 });

const database = useTestDatabase();
checkAggregatesAfterAll(database);

test("an import continues when a busy service accepts entries again", async () => {
  const writing = { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 500 };
  const { url } = await startOwnService(database.url, { writing });
  const userId = randomUUID();
  await using lock = await lockWrites(database);
  const single = grpcClient(url).createEntry(entryOf(`another ${userId}`));
  await lock.waitForBlocked(1);
  // Until the single entry is written, a batch of 500 exceeds the limit by one.
  const { tally, retries } = await importEntries(url, rowsOf(userId, 1200), () => lock.release());
  await single;
  expect(tally).toEqual({ created: 1200, duplicates: 0, rejected: 0 });
  expect(retries).toEqual(
    expect.arrayContaining(["[resource_exhausted] too many entries are waiting to be written"]),
  );
  expect(await aggregatesOf(database.pool, userId)).toMatchObject({ entries: 1200 });
});

test("an import fails with the reason if the service stays busy", async () => {
  const writing = { maxStatements: 2, maxStatementRows: 10, maxPendingRows: 10 };
  const { url } = await startOwnService(database.url, { writing });
  const importing = importEntries(url, rowsOf(randomUUID(), 11), () => {}, 5000);
  await expect(importing).rejects.toThrow("[resource_exhausted] too many entries are waiting to be written");
});

test("an import continues after its connection breaks, and loses and repeats no entry", async () => {
  const userId = randomUUID();
  const { proxy, url } = await proxyTo((await startOwnService(database.url)).url);
  async function* rows() {
    for (let round = 0; round < 2; round += 1) {
      yield* rowsOf(userId, 3000);
      proxy.cut();
    }
    yield* rowsOf(userId, 1);
  }
  const { tally, retries } = await importEntries(url, rows(), () => proxy.heal());
  // Entries that were recorded but not acknowledged before the connection broke were sent again.
  expect(tally.created + tally.duplicates).toBe(6001);
  expect(tally.rejected).toBe(0);
  expect(retries.length).toBeGreaterThanOrEqual(2);
  expect(await aggregatesOf(database.pool, userId)).toMatchObject({ entries: 6001 });
});

test("an import waits for a slow source of rows, and continues if its connection breaks meanwhile", async () => {
  const userId = randomUUID();
  const { proxy, url } = await proxyTo((await startOwnService(database.url)).url);
  async function* rows() {
    yield* rowsOf(userId, 500);
    // Longer than the timeout for an acknowledgement.
    await sleep(5500);
    proxy.cut();
    yield* rowsOf(userId, 500);
  }
  const { tally } = await importEntries(url, rows(), () => proxy.heal(), 5000);
  expect(tally).toEqual({ created: 1000, duplicates: 0, rejected: 0 });
});

/** @param onRetry called before the import waits and retries */
async function importEntries(
  url: string,
  rows: AsyncIterable<Row>,
  onRetry: () => unknown,
  timeoutMs?: number,
) {
  const tally = { created: 0, duplicates: 0, rejected: 0 };
  const retries: string[] = [];
  const events = {
    onRejected: () => {},
    onRetry: (reason: string) => {
      retries.push(reason);
      onRetry();
    },
  };
  await importRows(grpcClient(url), rows, events, tally, timeoutMs);
  return { tally, retries };
}

async function* rowsOf(userId: string, count: number): AsyncGenerator<Row, void> {
  for (let line = 2; line < count + 2; line += 1) yield { line, entry: entryOf(userId) };
}

function entryOf(userId: string) {
  return { requestId: randomUUID(), userId, wordCount: 1, timestamp: { seconds: 1_709_208_000n } };
}
