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

// Two instances reach their database by a way that delivers no notification, though LISTEN succeeds. Neither says what
// the other one has made untrue.

const database = useTestDatabase();
const random = seededRandom("pooler");
const deadline = { timeoutMs: 20_000 };

test("no notification comes", { timeout: 120_000 }, async () => {
  await using way = await SilentNotifications.start(database.url);
  await using one = await startServiceProcess({ DATABASE_URL: way.url });
  await using other = await startServiceProcess({ DATABASE_URL: way.url });
  const services = [one, other];
  await besideBystander({ services, databaseUrl: database.url, isDeaf: true }, async () => {
    using first = openOwnClient(one.url);
    using second = openOwnClient(other.url);
    const ledger = new Ledger(random);
    const load = startLoad(second.learningLog, {
      ledger,
      random,
      goesOn: true,
      singleCallers: 8,
      restMs: 100,
    });
    const until = performance.now() + (isLongForm ? 10_000 : 4_000);
    let rounds = 0;
    while (performance.now() < until) {
      await deleteAndRecordAnew(first.learningLog, second.learningLog);
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
    const said = output.filter((line) => /notif/i.test(line));
    expect(said.length, `lines about notifications: ${said.join("\n")}`).toBe(1);
  }

  /** What one instance has recorded and the other one deletes can be recorded anew. */
  async function deleteAndRecordAnew(
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
    expect(rowCount, "entries that were recorded anew").toBe(1);
  }

  /** A summary that one instance has answered has the late entry that the other one records then. */
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
    // As long as one that is in the know may be behind.
    await sleep(500);
    const after = await first.getSummary(request, deadline);
    expect(after.periods[0]?.entryCount).toBe(1n);
  }
});
