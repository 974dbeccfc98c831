import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { beforeAll, expect, test, vi } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report } from "./fault-run.ts";
import { answerPings, leave, visibleWaysToLeave } from "./leave.ts";
import { countSockets } from "./left-behind.ts";
import { RawHttp2 } from "./raw-http2.ts";
import { startServiceChild } from "./service-child.ts";
import { countSleepers, makeSummariesSlow, slowSummaryRequest, waitForSleeper } from "./slow-summaries.ts";
import { TcpProxy } from "./tcp-proxy.ts";

// Clients of HTTP/2 go away in each way there is, with everything open that one can have open. The service lets go of
// their connections, calls, watches and statements.

const database = useTestDatabase();

/** Much shorter than what they leave open lasts by itself. */
const noticeTimeoutMs = 5_000;

beforeAll(() => makeSummariesSlow(database.pool, 60));

test("300 clients, one after another, that close their connections after a call", async () => {
  await using service = await startServiceChild({ DATABASE_URL: database.url });
  const company = { services: [service], databaseUrl: database.url };
  await besideBystander(company, async () => {
    const before = await countSockets(portOf(service.url));
    for (let client = 0; client < 300; client += 1) {
      const connection = await RawHttp2.open(service.url);
      await connection.call("GetSummary", summaryRequest("somebody"));
      await once(connection.socket, "data");
      await leave(connection, client % 2 === 0 ? "by FIN" : "by RST");
    }
    await expectSocketsBack(service.url, before);
  });
});

test.for(visibleWaysToLeave)(
  "clients that leave %s, with calls, watches and statements open",
  async (way) => {
    await using service = await startServiceChild({ DATABASE_URL: database.url });
    const company = { services: [service], databaseUrl: database.url };
    await besideBystander(company, async () => {
      const before = await countSockets(portOf(service.url));
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawHttp2.open(service.url)));
      for (const [index, client] of clients.entries()) await openEverything(client, index);
      await waitForSleeper(database.pool);
      for (const client of clients) await leave(client, way);
      await vi.waitFor(async () => expect(await countSleepers(database.pool)).toBe(0), noticeTimeoutMs);
      if (way === "by RST_STREAM") for (const client of clients) client.close();
      await expectSocketsBack(service.url, before);
    });
  },
);

test("clients whose network falls silent", { timeout: 240_000 }, async () => {
  await using service = await startServiceChild({ DATABASE_URL: database.url });
  const company = { services: [service], databaseUrl: database.url };
  await besideBystander(company, async () => {
    const before = await countSockets(portOf(service.url));
    const { hostname, port } = new URL(service.url);
    const network = await TcpProxy.start({ host: hostname, port: Number(port) });
    const throughNetwork = `http://127.0.0.1:${network.port}`;
    const clients = await Promise.all(Array.from({ length: 5 }, () => RawHttp2.open(throughNetwork)));
    for (const client of clients) answerPings(client);
    for (const [index, client] of clients.entries()) await openEverything(client, index);
    await waitForSleeper(database.pool);
    for (const client of clients) await leave(client, "in silence", network);
    const start = performance.now();
    await expectSocketsBack(service.url, before, 120_000);
    report(`  silence was noticed after ${Math.round((performance.now() - start) / 1000)} s`);
    await vi.waitFor(async () => expect(await countSleepers(database.pool)).toBe(0), noticeTimeoutMs);
    await network.stop();
  });
});

test.for(["exit", "SIGKILL", "SIGTERM"] as const)(
  "a client process of gRPC for Node.js that ends by %s, with a watch open",
  async (ending) => {
    await using service = await startServiceChild({ DATABASE_URL: database.url });
    const company = { services: [service], databaseUrl: database.url };
    await besideBystander(company, async () => {
      const before = await countSockets(portOf(service.url));
      const script = path.join(import.meta.dirname, "watching-client.ts");
      const clients = Array.from({ length: isLongForm ? 10 : 2 }, () =>
        spawn(process.execPath, [script, service.url], { stdio: ["pipe", "pipe", "inherit"] }),
      );
      await Promise.all(clients.map(({ stdout }) => once(stdout, "data")));
      for (const client of clients) {
        if (ending === "exit") client.stdin.end("exit\n");
        else client.kill(ending);
      }
      await Promise.all(
        clients.map((client) => client.exitCode ?? client.signalCode ?? once(client, "exit")),
      );
      await expectSocketsBack(service.url, before);
    });
  },
);

/** A watch, a call without its message, a stream without a batch, and a summary that takes long: each of its own learner. */
async function openEverything(client: RawHttp2, index: number): Promise<void> {
  await client.call("WatchSummary", summaryRequest(`watched ${index}`));
  await client.call("CreateEntry");
  await client.call("ImportEntries");
  // Few enough to leave others room.
  if (index >= 3) return;
  const slow = create(GetSummaryRequestSchema, slowSummaryRequest(`slow ${index}`));
  await client.call("GetSummary", toBinary(GetSummaryRequestSchema, slow));
}

async function expectSocketsBack(url: string, before: number, timeoutMs = noticeTimeoutMs): Promise<void> {
  await vi.waitFor(
    async () => expect(await countSockets(portOf(url)), "sockets").toBeLessThanOrEqual(before),
    {
      timeout: timeoutMs,
      interval: 50,
    },
  );
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

function summaryRequest(userId: string): Uint8Array {
  const now = BigInt(Math.floor(Date.now() / 1000));
  const request = create(GetSummaryRequestSchema, {
    userId,
    granularity: Granularity.DAY,
    from: { seconds: now - 86_400n },
    to: { seconds: now },
  });
  return toBinary(GetSummaryRequestSchema, request);
}
