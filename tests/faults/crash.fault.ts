import { execFile } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { Code, type ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import {
  createDataDir,
  embeddedDatabaseUrl,
  findPostmasterPid,
  postmasterPid,
  removeDataDir,
} from "../support/data-folder.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { Bystander, isUnavailable } from "./bystander.ts";
import { report, rounds, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { type Load, type LoadOutcome, startLoad } from "./load.ts";
import { waitUntilReady } from "./wait-until-ready.ts";

// In each round, the service, its PostgreSQL or both crash under load. Both run as in production, and all rounds use
// the same data. Each acknowledged entry must be stored exactly once, and retries must record all other entries.

const faults = [
  "the service is killed",
  "PostgreSQL shuts down at once",
  "the service and PostgreSQL are killed",
  "a process of PostgreSQL is killed",
] as const;
const random = seededRandom("crash");
// The faults take turns, beginning with a random one.
const offset = random.integer(0, faults.length - 1);
const plan = Array.from({ length: rounds }, (_, round) => ({
  round: round + 1,
  fault: faults[(offset + round) % faults.length] ?? faults[0],
  afterMs: random.integer(300, 1500),
}));

describe("crashes under load", { concurrent: false, shuffle: false }, () => {
  const ledger = new Ledger(random);
  let dataDir: string;
  let service: ServerProcess;

  beforeAll(async () => {
    dataDir = await createDataDir();
    service = await startServiceProcess({ DATA_DIR: dataDir });
  });

  afterAll(async () => {
    const ended = service.isRunning ? await service.end("SIGTERM") : undefined;
    const pid = await findPostmasterPid(dataDir);
    await removeDataDir(dataDir);
    expect(ended).toMatchObject({ code: 0 });
    expect(pid, "PostgreSQL is stopped with the service").toBeUndefined();
  });

  test.each(plan)(
    "round $round: no acknowledged entry is lost when $fault after $afterMs ms",
    async ({ round, fault, afterMs }) => {
      const client = grpcClient(service.url);
      await using bystander = await Bystander.start([service.url]);
      const before = ledger.acknowledgedEntries;
      const load = startLoad(client, { ledger, random, continuesAfterFailure: false });
      await vi.waitFor(() => expect(ledger.acknowledgedEntries).toBeGreaterThan(before), 20_000);
      await sleep(afterMs);
      // Calls that are in flight during the fault may fail.
      const isKilled = fault === "the service is killed" || fault === "the service and PostgreSQL are killed";
      using _ = bystander.excuse({ errors: isKilled ? isDisconnected : isUnavailable });
      const outcome = await injectFault(fault, load, bystander);

      service = await startServiceProcess({ DATA_DIR: dataDir });
      const url = await embeddedDatabaseUrl(dataDir);
      const unacknowledged = ledger.unacknowledgedEntries;
      const acknowledged = ledger.acknowledgedEntries - before;
      report(
        `  round ${round}: ${fault} after ${afterMs} ms: ${acknowledged} entries acknowledged, ` +
          `${unacknowledged} not, slowest call ${Math.round(outcome.slowestMs)} ms`,
      );
      await withConnection(url, async (connection) => {
        await bystander.expectUnharmed(connection);
        await ledger.expectAcknowledgedThere(connection);
        await ledger.retryUnacknowledged(grpcClient(service.url));
        await ledger.expectAllThere(connection);
        await expectAggregatesMatchLog(connection);
      });
    },
  );

  /** Resolves when the service has ended. If the service survives the fault, it must first become ready again. */
  async function injectFault(
    fault: (typeof faults)[number],
    load: Load,
    bystander: Bystander,
  ): Promise<LoadOutcome> {
    const pid = await postmasterPid(dataDir);
    if (fault === "the service is killed" || fault === "the service and PostgreSQL are killed") {
      if (fault === "the service and PostgreSQL are killed") {
        // The children, too, because they would finish their statements.
        const children = await childrenOf(pid);
        for (const each of [pid, ...children]) kill(each, "SIGKILL");
      }
      await service.end("SIGKILL");
      const stopped = load.stop();
      await bystander.giveUp();
      return stopped;
    }
    if (fault === "PostgreSQL shuts down at once") kill(pid, "SIGQUIT");
    else {
      const children = await childrenOf(pid);
      kill(children[random.integer(0, children.length - 1)] ?? pid, "SIGKILL");
    }
    await sleep(500);
    const outcome = await load.stop();
    expectUnavailable(outcome.failures);
    // The service keeps its claim on the data folder, and restarts PostgreSQL.
    await expect(startServiceProcess({ DATA_DIR: dataDir })).rejects.toThrow("src/main.ts ended with 1:");
    await waitUntilReady(service.url, 30_000);
    expect(service.isRunning, service.lastLines()).toBe(true);
    await bystander.giveUp();
    const ended = await service.end("SIGTERM");
    report(`  the stop afterwards took ${Math.round(ended.ms)} ms`);
    expect(ended).toMatchObject({ code: 0 });
    return outcome;
  }
});

/** Whether the error is that of a broken connection: a killed process sends no error. */
function isDisconnected({ code, rawMessage }: ConnectError): boolean {
  return (
    code === Code.Unavailable ||
    code === Code.Aborted ||
    /ECONN|EPIPE|socket|hang up|closed/i.test(rawMessage)
  );
}

/** Checks that each failure is UNAVAILABLE with RetryInfo. */
function expectUnavailable(failures: readonly ConnectError[]): void {
  const wrong = failures.filter(
    (failure) => failure.code !== Code.Unavailable || failure.findDetails(RetryInfoSchema).length !== 1,
  );
  expect([...new Set(wrong.map(String))], `${wrong.length} of ${failures.length} calls`).toEqual([]);
}

async function childrenOf(pid: number): Promise<number[]> {
  const { stdout } = await promisify(execFile)("ps", ["-A", "-o", "ppid=,pid="]);
  const pairs = stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number));
  return pairs.flatMap(([parent, child]) => (parent === pid && child !== undefined ? child : []));
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // The process may have ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
