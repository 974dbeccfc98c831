import { setTimeout as sleep } from "node:timers/promises";
import { Code, type ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report, rounds, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { startLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { waitUntilReady } from "./wait-until-ready.ts";

// Under load, the connections between the service and its database break, or the network drops all packets. Each call
// is answered in bounded time. When the network works again, so does the service, without a restart.

const faults = ["cut", "silence"] as const;
const random = seededRandom("cut");
const plan = Array.from({ length: rounds }, (_, round) => ({
  round: round + 1,
  fault: faults[round % faults.length] ?? faults[0],
  afterMs: random.integer(100, 800),
  forMs: random.integer(0, 1500),
}));

/** The longest that a call may take: opening a connection, and two statements, one of which is its own. */
const maxWaitMs = 12_000;

/** Whether callers may get this error, until the service detects that the network works again. */
function isExplained({ code }: ConnectError): boolean {
  return code === Code.Unavailable || code === Code.ResourceExhausted || code === Code.DeadlineExceeded;
}

/**
 * A connection whose packets were dropped stays unusable. The next probe over it begins within two seconds, and times
 * out after five. After this probe, the instance is briefly not ready.
 */
const lostProbeMs = 8_000;

describe("a broken network to the database", { concurrent: false, shuffle: false }, () => {
  const database = useTestDatabase();
  let proxy: TcpProxy;

  beforeAll(async () => {
    const { hostname, port } = new URL(database.url);
    proxy = await TcpProxy.start({ host: hostname, port: Number(port) });
  });

  afterAll(() => proxy.stop());

  describe("with time limits of two and three seconds", () => {
    const ledger = new Ledger(random);
    let service: ServerProcess;

    beforeAll(async () => {
      service = await startServiceBehind(proxy, { statement_timeout: "2000", query_timeout: "3000" });
    });

    afterAll(() => service[Symbol.asyncDispose]());

    test.each(plan)(
      "round $round: calls are answered in time ($fault after $afterMs ms, for $forMs ms)",
      async (planned) => {
        const { round, fault, afterMs, forMs } = planned;
        await besideBystander({ services: [service], databaseUrl: database.url }, async (bystander) => {
          using client = openOwnClient(service.url);
          const before = ledger.acknowledgedEntries;
          const load = startLoad(client.learningLog, { ledger, random, continuesAfterFailure: true });
          await sleep(afterMs);
          const excuse = bystander.excuse({ errors: isExplained, waitMs: maxWaitMs });
          proxy[fault]();
          await sleep(forMs);
          proxy.heal();
          const recoveredMs = await measureRecovery(ledger);
          if (fault === "silence") await sleep(lostProbeMs);
          await waitUntilReady(service.url);
          excuse[Symbol.dispose]();
          const { failures, slowestMs } = await load.stop();

          report(
            `  round ${round}: ${fault} after ${afterMs} ms for ${forMs} ms: ` +
              `${ledger.acknowledgedEntries - before} entries acknowledged, ${ledger.unacknowledgedEntries} not, ` +
              `slowest call ${Math.round(slowestMs)} ms, recovered in ${Math.round(recoveredMs)} ms`,
          );
          expect(failures.filter((failure) => !isExplained(failure)).map(String)).toEqual([]);
          expect(slowestMs).toBeLessThan(maxWaitMs);
          expect(recoveredMs).toBeLessThan(8_000);
          await expectSettled(ledger, client.learningLog);
        });
      },
    );

    test.runIf(isLongForm)("the service stops in time while the network drops all packets", async () => {
      const network = await TcpProxy.start(proxy.target);
      const stopping = await startServiceBehind(network, {
        statement_timeout: "2000",
        query_timeout: "3000",
      });
      const lost = new Ledger(random);
      using client = openOwnClient(stopping.url);
      using other = openOwnClient(service.url);
      const load = startLoad(client.learningLog, { ledger: lost, random, continuesAfterFailure: false });
      await sleep(300);
      network.silence();
      await sleep(100);
      const loadStopped = load.stop();
      const { code, ms: stopMs } = await stopping.end("SIGTERM");
      expect(code, stopping.lastLines()).toBe(0);
      await loadStopped;
      await network.stop();
      report(`  the stop while the network dropped all packets took ${Math.round(stopMs)} ms`);
      expect(stopMs).toBeLessThan(15_000);
      await lost.retryUnacknowledged(other.learningLog);
    });
  });

  test.runIf(isLongForm)(
    "calls are answered within the default time limits after lost packets",
    { timeout: 120_000 },
    async () => {
      await withConnection(database.url, async (connection) => {
        await connection.query("TRUNCATE learning_log, learning_log_aggregates");
      });
      const ledger = new Ledger(random);
      await using service = await startServiceBehind(proxy, {});
      await besideBystander({ services: [service], databaseUrl: database.url }, async (bystander) => {
        using client = openOwnClient(service.url);
        const load = startLoad(client.learningLog, { ledger, random, continuesAfterFailure: true });
        await sleep(500);
        // The statement of a read has a longer timeout.
        const excuse = bystander.excuse({ errors: isExplained, waitMs: 40_000 });
        proxy.silence();
        await sleep(500);
        proxy.heal();
        const recoveredMs = await measureRecovery(ledger);
        await sleep(lostProbeMs);
        await waitUntilReady(service.url);
        excuse[Symbol.dispose]();
        const { slowestMs } = await load.stop();
        report(
          `  default limits: slowest call ${Math.round(slowestMs)} ms, recovered in ${Math.round(recoveredMs)} ms`,
        );
        // The lost statements time out after 10 seconds. Before, a batch may have waited for one of their connections.
        expect(slowestMs).toBeLessThan(17_000);
        expect(recoveredMs).toBeLessThan(20_000);
        await expectSettled(ledger, client.learningLog);
      });
    },
  );

  async function expectSettled(ledger: Ledger, client: LearningLogClient): Promise<void> {
    await withConnection(database.url, async (connection) => {
      await ledger.expectAcknowledgedThere(connection);
      await ledger.retryUnacknowledged(client);
      await ledger.expectAllThere(connection);
      await expectAggregatesMatchLog(connection);
    });
  }

  async function startServiceBehind(
    network: TcpProxy,
    settings: Readonly<Record<string, string>>,
  ): Promise<ServerProcess> {
    const url = new URL(database.url);
    url.port = String(network.port);
    for (const [name, value] of Object.entries(settings)) url.searchParams.set(name, value);
    return startServiceProcess({ DATABASE_URL: url.href });
  }
});

/**
 * Waits until more than 200 entries are acknowledged in a quarter of a second, twice in a row.
 *
 * @returns how long this took, in milliseconds
 */
async function measureRecovery(ledger: Ledger): Promise<number> {
  const start = performance.now();
  for (let good = 0; good < 2 && performance.now() - start < 60_000; ) {
    const before = ledger.acknowledgedEntries;
    await sleep(250);
    good = ledger.acknowledgedEntries - before > 200 ? good + 1 : 0;
  }
  return performance.now() - start;
}
