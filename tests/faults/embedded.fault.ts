import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import { execute, withConnection } from "../support/connection.ts";
import {
  embeddedDatabaseUrl,
  findPostmasterPid,
  makeDataDir,
  postmasterPid,
} from "../support/data-folder.ts";
import type { Ended } from "../support/server-process.ts";
import { launchServiceProcess, startServiceProcess } from "../support/service-process.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isUnavailable } from "./bystander.ts";
import { report, rounds, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { startLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { waitUntilReady } from "./wait-until-ready.ts";

// A process of the embedded PostgreSQL is killed, as a kernel does when memory runs out. The service soon has its
// database again, and keeps its claim on it: a second service on the same folder is rejected, and does no harm.

const random = seededRandom("embedded");
const recoveryMs = 30_000;
let dataDir: string;

const victims = [
  {
    victim: "a backend of the service",
    find: () => backendPid("application_name LIKE 'daily-aggregator%'"),
  },
  {
    victim: "the backend that holds the claim",
    find: () => backendPid("pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"),
  },
  {
    victim: "the postmaster",
    find: () => postmasterPid(dataDir),
  },
];

test.for(victims)(
  "the service soon records entries again, and keeps its folder, after $victim is killed",
  { timeout: 240_000 },
  async ({ find }) => {
    dataDir = await makeDataDir();
    await using service = await startServiceProcess({ DATA_DIR: dataDir });
    const scenario = { services: [service], databaseUrl: () => embeddedDatabaseUrl(dataDir) };
    await besideBystander(scenario, async (bystander) => {
      const ledger = new Ledger(random);
      using client = openOwnClient(service.url);
      const load = startLoad(client.learningLog, { ledger, random, continuesAfterFailure: true, restMs: 50 });
      for (let round = 0; round < Math.ceil(rounds / 10); round += 1) {
        await sleep(500);
        const excuse = bystander.excuse({ errors: isUnavailable, waitMs: 20_000 });
        const killed = performance.now();
        process.kill(await find(), "SIGKILL");
        // Answers in this second may belong to entries that were written before the kill.
        await sleep(1_000);
        await vi.waitFor(() => expectServed(ledger), { timeout: recoveryMs, interval: 100 });
        report(`  entries were recorded again after ${Math.round(performance.now() - killed)} ms`);
        await waitUntilReady(service.url);
        excuse[Symbol.dispose]();

        const second = await startSecond();
        expect(second.stderr).toContain("is in use by another daily-aggregator");
        expect(second.code).toBe(1);
        await expectServed(ledger);
      }
      const { failures } = await load.stop();
      expect(failures.filter((error) => !isUnavailable(error)).map(String)).toEqual([]);
      await withConnection(await embeddedDatabaseUrl(dataDir), async (connection) => {
        await ledger.expectAcknowledgedThere(connection);
        await ledger.retryUnacknowledged(client.learningLog);
        await ledger.expectAllThere(connection);
        await expectAggregatesMatchLog(connection);
      });
    });
    expect(await service.end("SIGTERM")).toMatchObject({ code: 0 });
    expect(await findPostmasterPid(dataDir), "PostgreSQL is stopped with the service").toBeUndefined();
  },
);

/** Checks that more entries are acknowledged. */
async function expectServed(ledger: Ledger): Promise<void> {
  const before = ledger.acknowledgedEntries;
  await vi.waitFor(() => expect(ledger.acknowledgedEntries).toBeGreaterThan(before + 50), 2_000);
}

/** Starts another service on the same folder, and waits until it has ended. */
async function startSecond(): Promise<Ended> {
  const second = launchServiceProcess({ DATA_DIR: dataDir });
  const force = setTimeout(() => second.signal("SIGTERM"), 15_000);
  const ended = await second.ended;
  clearTimeout(force);
  return ended;
}

/** The process id of the oldest connection that meets a condition in SQL. */
async function backendPid(condition: string): Promise<number> {
  const [row] = await execute<{ pid: number }>(
    await embeddedDatabaseUrl(dataDir),
    `SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ${condition} ORDER BY backend_start LIMIT 1`,
  );
  if (row === undefined) throw new Error("there is no such connection");
  return row.pid;
}
