import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Service, startService } from "../../src/service.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { grpcClient } from "../support/clients.ts";
import { testConfig } from "../support/test-config.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { isLongForm, report, rounds, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { runLoad } from "./load.ts";
import { expectRecountClean, withConnection } from "./recount.ts";
import { TcpProxy } from "./tcp-proxy.ts";

// The way between the service and its database breaks under load, or swallows everything. Each call is answered
// within a bound, and without a restart the service works again once the way is open.

const faults = ["cut", "silence"] as const;
const random = seededRandom("cut");
const plan = Array.from({ length: rounds }, (_, round) => ({
  round: round + 1,
  fault: faults[round % faults.length] ?? faults[0],
  afterMs: random.integer(100, 800),
  forMs: random.integer(0, 1500),
}));

describe("a broken way to the database", { concurrent: false, shuffle: false }, () => {
  const database = useTestDatabase();
  let proxy: TcpProxy;

  beforeAll(async () => {
    const { hostname, port } = new URL(database.url);
    proxy = await TcpProxy.start({ host: hostname, port: Number(port) });
  });

  afterAll(() => proxy.stop());

  describe("with time limits of two and three seconds", () => {
    const ledger = new Ledger(random);
    let service: Service;

    beforeAll(async () => {
      service = await startServiceBehind(proxy, { statement_timeout: "2000", query_timeout: "3000" });
    });

    afterAll(() => service.stop());

    test.each(plan)("round $round: $fault after $afterMs ms for $forMs ms", async (planned) => {
      const { round, fault, afterMs, forMs } = planned;
      const client = grpcClient(service.url);
      const before = ledger.acknowledgedEntries;
      const stop = new AbortController();
      const load = runLoad(client, { ledger, random, signal: stop.signal, goesOn: true });
      await sleep(afterMs);
      proxy[fault]();
      await sleep(forMs);
      proxy.heal();
      const recoveredMs = await measureRecovery(ledger);
      stop.abort();
      const { failures, slowestMs } = await load;

      report(
        `  round ${round}: ${fault} after ${afterMs} ms for ${forMs} ms: ` +
          `${ledger.acknowledgedEntries - before} entries acknowledged, ${ledger.unacknowledgedEntries} not, ` +
          `slowest call ${Math.round(slowestMs)} ms, recovered in ${Math.round(recoveredMs)} ms`,
      );
      const allowed = ["Unavailable", "ResourceExhausted", "DeadlineExceeded"];
      const codes = new Set(failures.map(({ code }) => Code[code]));
      expect([...codes].filter((code) => code !== undefined && !allowed.includes(code))).toEqual([]);
      // A connection and two statements, one of them the caller's own.
      expect(slowestMs).toBeLessThan(12_000);
      expect(recoveredMs).toBeLessThan(8_000);
      await expectSettled(ledger, service);
    });

    test.runIf(isLongForm)("a stop ends while nothing gets through", async () => {
      const way = await TcpProxy.start(proxy.target);
      const stopping = await startServiceBehind(way, { statement_timeout: "2000", query_timeout: "3000" });
      const stop = new AbortController();
      const lost = new Ledger(random);
      const load = runLoad(grpcClient(stopping.url), {
        ledger: lost,
        random,
        signal: stop.signal,
        goesOn: false,
      });
      await sleep(300);
      way.silence();
      await sleep(100);
      stop.abort();
      const start = performance.now();
      await stopping.stop();
      const stopMs = performance.now() - start;
      await load;
      await way.stop();
      report(`  a stop while nothing gets through took ${Math.round(stopMs)} ms`);
      expect(stopMs).toBeLessThan(15_000);
      await lost.retryUnacknowledged(grpcClient(service.url));
    });
  });

  test.runIf(isLongForm)("the service's own time limits end the silence", { timeout: 120_000 }, async () => {
    await withConnection(database.url, async (connection) => {
      await connection.query("TRUNCATE learning_log, learning_log_aggregates");
    });
    const ledger = new Ledger(random);
    const service = await startServiceBehind(proxy, {});
    const stop = new AbortController();
    const load = runLoad(grpcClient(service.url), { ledger, random, signal: stop.signal, goesOn: true });
    await sleep(500);
    proxy.silence();
    await sleep(500);
    proxy.heal();
    const recoveredMs = await measureRecovery(ledger);
    stop.abort();
    const { slowestMs } = await load;
    report(
      `  own limits: slowest call ${Math.round(slowestMs)} ms, recovered in ${Math.round(recoveredMs)} ms`,
    );
    // The lost statements count as lost after 10 seconds; a batch may have waited for one of their connections.
    expect(slowestMs).toBeLessThan(17_000);
    expect(recoveredMs).toBeLessThan(20_000);
    await expectSettled(ledger, service);
    await service.stop();
  });

  async function expectSettled(ledger: Ledger, service: Service): Promise<void> {
    await withConnection(database.url, async (connection) => {
      await ledger.expectAcknowledgedThere(connection);
      await ledger.retryUnacknowledged(grpcClient(service.url));
      await ledger.expectAllThere(connection);
      await expectRecountClean(connection);
    });
  }

  async function startServiceBehind(
    way: TcpProxy,
    settings: Readonly<Record<string, string>>,
  ): Promise<Service> {
    const url = new URL(database.url);
    url.port = String(way.port);
    for (const [name, value] of Object.entries(settings)) url.searchParams.set(name, value);
    return startService(testConfig(url.href), createLog("silent"));
  }
});

/** Until entries are acknowledged at the pace of several hundred in a quarter of a second, twice in a row. */
async function measureRecovery(ledger: Ledger): Promise<number> {
  const start = performance.now();
  for (let good = 0; good < 2 && performance.now() - start < 60_000; ) {
    const before = ledger.acknowledgedEntries;
    await sleep(250);
    good = ledger.acknowledgedEntries - before > 200 ? good + 1 : 0;
  }
  return performance.now() - start;
}
