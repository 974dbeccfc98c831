import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { besideBystander } from "./beside-bystander.ts";
import { isUnavailable } from "./bystander.ts";
import { report, rounds, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { runLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { expectRecountClean, withConnection } from "./recount.ts";
import {
  embeddedServerUrl,
  main,
  postmasterPid,
  startServiceChild,
  waitUntilReady,
} from "./service-child.ts";

// Somebody kills a process of the embedded PostgreSQL, as a machine does that is out of memory. The service has its
// database again soon, for itself alone: a second service on the same folder is turned away, and does no harm.

const random = seededRandom("embedded");
const recoveryMs = 30_000;
let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(path.join(tmpdir(), "daily-aggregator-embedded-"));
});

afterEach(async () => {
  const pid = await postmasterPid(dataDir);
  if (pid !== undefined) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // The file of one that was killed stays.
    }
    await sleep(500);
  }
  await rm(dataDir, { recursive: true, force: true, maxRetries: 10 });
});

const victims = [
  {
    victim: "a backend that works for the service",
    find: () => backendPid("application_name LIKE 'daily-aggregator%'"),
  },
  {
    victim: "the backend that holds the claim",
    find: () => backendPid("pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"),
  },
  {
    victim: "the first process of PostgreSQL",
    async find() {
      const pid = await postmasterPid(dataDir);
      if (pid === undefined) throw new Error("PostgreSQL does not run");
      return pid;
    },
  },
];

test.for(victims)("$victim is killed", { timeout: 240_000 }, async ({ find }) => {
  await using service = await startServiceChild({ DATA_DIR: dataDir });
  const company = { services: [service], databaseUrl: () => embeddedServerUrl(dataDir) };
  await besideBystander(company, async (bystander) => {
    const ledger = new Ledger(random);
    using client = openOwnClient(service.url);
    const stop = new AbortController();
    const load = runLoad(client.learningLog, {
      ledger,
      random,
      signal: stop.signal,
      goesOn: true,
      restMs: 50,
    });
    for (let round = 0; round < Math.ceil(rounds / 10); round += 1) {
      await sleep(500);
      const fault = bystander.excuse({ errors: isUnavailable, waitMs: 20_000 });
      const killed = performance.now();
      process.kill(await find(), "SIGKILL");
      // What was answered at that moment does not count.
      await sleep(1_000);
      await vi.waitFor(() => expectServed(ledger), { timeout: recoveryMs, interval: 100 });
      report(`  entries were recorded again after ${Math.round(performance.now() - killed)} ms`);
      await waitUntilReady(service.url);
      fault[Symbol.dispose]();

      const second = await startSecond();
      expect(second.stderr).toContain("is in use by another daily-aggregator");
      expect(second.code).toBe(1);
      await expectServed(ledger);
    }
    stop.abort();
    const { failures } = await load;
    expect(failures.filter((error) => !isUnavailable(error)).map(String)).toEqual([]);
    await withConnection(await embeddedServerUrl(dataDir), async (connection) => {
      await ledger.expectAcknowledgedThere(connection);
      await ledger.retryUnacknowledged(client.learningLog);
      await ledger.expectAllThere(connection);
      await expectRecountClean(connection);
    });
  });
  expect(await service.end("SIGTERM")).toMatchObject({ code: 0 });
  expect(await postmasterPid(dataDir), "PostgreSQL is stopped with the service").toBeUndefined();
});

/** Entries are acknowledged. */
async function expectServed(ledger: Ledger): Promise<void> {
  const before = ledger.acknowledgedEntries;
  await vi.waitFor(() => expect(ledger.acknowledgedEntries).toBeGreaterThan(before + 50), 2_000);
}

/** Another service on the same folder; resolves when it has ended. */
async function startSecond(): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, DATA_DIR: dataDir, PORT: "0" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const force = setTimeout(() => child.kill("SIGTERM"), 15_000);
  const [[code], stderr] = await Promise.all([once(child, "exit"), text(child.stderr)]);
  clearTimeout(force);
  return { code, stderr };
}

/** The process of the longest connection of which that is true. */
async function backendPid(condition: string): Promise<number> {
  const client = new pg.Client({ connectionString: await embeddedServerUrl(dataDir) });
  await client.connect();
  try {
    const { rows } = await client.query<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ${condition} ORDER BY backend_start LIMIT 1`,
    );
    const [row] = rows;
    if (row === undefined) throw new Error("there is no such connection");
    return row.pid;
  } finally {
    await client.end();
  }
}
