import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { expect, onTestFinished, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { learnerKey } from "../../src/database/learner-key.ts";
import { startChild } from "../benchmarks/harness/child.ts";
import { grpcClient, transports } from "../support/clients.ts";
import { listenTo } from "../support/listen.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { report, rounds } from "./fault-run.ts";
import { TcpProxy } from "./tcp-proxy.ts";

// Callers leave in the middle of their calls, in each way there is. They leave nothing behind: no connection, no
// statement, no watched learner. A bystander is served all the while.

const database = useTestDatabase();
const main = path.join(import.meta.dirname, "../../src/main.ts");

const callersPerRound = 20;
const bystanderBoundMs = 5_000;

const ways: Readonly<Record<string, (proxy: TcpProxy, caller: AbortController) => void>> = {
  "giving up": (_, caller) => caller.abort(),
  FIN: (proxy) => proxy.finish(),
  RST: (proxy) => proxy.reset(),
  silence: (proxy) => proxy.silence(),
};

test("callers who leave leave nothing behind", { timeout: 600_000 }, async () => {
  await using service = await startChild(main, { DATABASE_URL: database.url, PORT: "0", LOG_LEVEL: "info" });
  const port = Number(new URL(service.url).port);
  const bystander = grpcClient(service.url);
  let slowestMs = 0;
  let isOver = false;
  const standingBy = (async () => {
    while (!isOver) {
      const start = performance.now();
      const entry = { requestId: randomUUID(), userId: "bystander", wordCount: 1 };
      await bystander.createEntry(entry, { timeoutMs: 20_000 });
      await bystander.getSummary(summaryOf("bystander"), { timeoutMs: 20_000 });
      slowestMs = Math.max(slowestMs, performance.now() - start);
      await sleep(20);
    }
  })();
  await sleep(500);
  const connectionsBefore = connectionsOf(port);
  const learners = new Set<string>();

  for (const [name, leave] of Object.entries(ways)) {
    // Over HTTP/1.1, it takes a quarter of an hour until silence is noticed: docs/configuration.md.
    const usable = Object.entries(transports).filter(
      ([transport]) => name !== "silence" || transport.endsWith("HTTP/2"),
    );
    for (let round = 0; round < (name === "silence" ? 1 : rounds); round += 1) {
      const proxy = await TcpProxy.start({ host: "127.0.0.1", port });
      onTestFinished(() => proxy.stop());
      const caller = new AbortController();
      const calls = Array.from({ length: callersPerRound }, async (_, index) => {
        const createTransport = usable[index % usable.length]?.[1];
        if (createTransport === undefined) throw new Error("there is a transport");
        const client = createClient(LearningLogService, createTransport(`http://127.0.0.1:${proxy.port}`));
        const userId = randomUUID();
        learners.add(learnerKey(userId));
        const answers = client.watchSummary(summaryOf(userId), { signal: caller.signal });
        const iterator = answers[Symbol.asyncIterator]();
        await iterator.next();
      });
      await Promise.all(calls);
      leave(proxy, caller);
      if (name === "giving up") await proxy.stop();
    }
    const start = performance.now();
    await expect.poll(() => connectionsOf(port), { timeout: 90_000 }).toBeLessThanOrEqual(connectionsBefore);
    report(`  ${name}: nothing was left ${Math.round(performance.now() - start)} ms after the last one`);
  }

  // Every instance repeats every ten seconds whom it watches.
  const watches = await listenTo(database, "daily_aggregator_watches");
  await sleep(12_000);
  expect(
    watches
      .join()
      .split(",")
      .filter((key) => learners.has(key)),
  ).toEqual([]);
  isOver = true;
  await standingBy;
  report(`  a bystander waited ${Math.round(slowestMs)} ms at most`);
  expect(slowestMs).toBeLessThan(bystanderBoundMs);
});

function summaryOf(userId: string) {
  const from = { seconds: 1_700_000_000n };
  return { userId, from, to: from, granularity: Granularity.DAY };
}

/** How many connections to a port of this machine its process still has, whether their peer has closed them or not. */
function connectionsOf(port: number): number {
  const [established, closeWait] = ["01", "08"];
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = "", , state]) => {
      const isOurs = Number.parseInt(local.split(":")[1] ?? "", 16) === port;
      return isOurs && (state === established || state === closeWait);
    }).length;
}
