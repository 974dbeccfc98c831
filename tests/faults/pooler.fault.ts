import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import { withConnection } from "../support/connection.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { startLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { SilentNotifications } from "./silent-notifications.ts";

// Two instances reach their database through a proxy that delivers no notifications, although LISTEN succeeds. Neither
// gives an answer that a write of the other one has made stale.

const database = useTestDatabase();
const random = seededRandom("pooler");
const deadline = { timeoutMs: 20_000 };

test("no answer is stale while notifications are not delivered", { timeout: 120_000 }, async () => {
  await using proxy = await SilentNotifications.start(database.url);
  await using one = await startServiceProcess({ DATABASE_URL: proxy.url });
  await using other = await startServiceProcess({ DATABASE_URL: proxy.url });
  const services = [one, other];
  await besideBystander({ services, databaseUrl: database.url, receivesNoNotifications: true }, async () => {
    using first = openOwnClient(one.url);
    using second = openOwnClient(other.url);
    const ledger = new Ledger(random);
    const load = startLoad(second.learningLog, {
      ledger,
      random,
      continuesAfterFailure: true,
      singleCallers: 8,
      restMs: 100,
    });
    const until = performance.now() + (isLongForm ? 10_000 : 4_000);
    let rounds = 0;
    while (performance.now() < until) {
      await deleteAndRecordAgain(first.learningLog, second.learningLog);
      await summarizeAndWriteLate(first.learningLog, second.learningLog);
      rounds += 1;
    }
    const { failures, slowestMs } = await load.stop();
    report(`  ${rounds} rounds; ${ledger.acknowledgedEntries} entries, ${Math.round(slowestMs)} ms at most`);
    expect(failures.map(String)).toEqual([]);
    await withConnection(database.url, async (connection) => {
      await ledger.expectAllThere(connection);
      await expectAggregatesMatchLog(connection);
    });
  });
  for (const { output } of services) {
    const lines = output.filter((line) => /notif/i.test(line));
    expect(lines.length, `lines about notifications: ${lines.join("\n")}`).toBe(1);
  }

  /** Checks that an entry that one instance recorded and the other one deleted can be recorded again. */
  async function deleteAndRecordAgain(
    first: ReturnType<typeof openOwnClient>["learningLog"],
    second: ReturnType<typeof openOwnClient>["learningLog"],
  ): Promise<void> {
    const entry = { requestId: randomUUID(), userId: "deleted", wordCount: 1 };
    await first.createEntry(entry, deadline);
    const again = await first.createEntry(entry, deadline).catch((error) => ConnectError.from(error).code);
    expect(again).toBe(Code.AlreadyExists);
    await second.deleteEntry({ requestId: entry.requestId }, deadline);
    await first.createEntry(entry, deadline);
    const { rowCount } = await database.pool.query("SELECT FROM learning_log WHERE request_id = $1", [
      entry.requestId,
    ]);
    expect(rowCount, "entries that were recorded again").toBe(1);
  }

  /** Checks that a summary that one instance has answered has a late entry that the other one records afterwards. */
  async function summarizeAndWriteLate(
    first: ReturnType<typeof openOwnClient>["learningLog"],
    second: ReturnType<typeof openOwnClient>["learningLog"],
  ): Promise<void> {
    const userId = `late ${randomUUID()}`;
    const timestamp = { seconds: 1_700_000_000n };
    const request = { userId, granularity: Granularity.DAY, from: timestamp, to: timestamp };
    const before = await first.getSummary(request, deadline);
    expect(before.periods[0]?.entryCount).toBe(0n);
    await second.createEntry({ requestId: randomUUID(), userId, wordCount: 3, timestamp }, deadline);
    // For up to half a second, the lease, even an instance that receives notifications may be behind.
    await sleep(500);
    const after = await first.getSummary(request, deadline);
    expect(after.periods[0]?.entryCount).toBe(1n);
  }
});
