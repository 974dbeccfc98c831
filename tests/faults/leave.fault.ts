import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { beforeAll, expect, test, vi } from "vitest";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm } from "./fault-run.ts";
import { leave, visibleWaysToLeave } from "./leave.ts";
import { expectOnlyBystander } from "./left-behind.ts";
import { openEverything, recentDays } from "./open-everything.ts";
import { RawHttp2 } from "./raw-http2.ts";
import { countSleepers, makeSummariesSlow, waitForSleeper } from "./slow-summaries.ts";

// HTTP/2 clients disconnect in every way that exists, with everything open that a client can have open. The service
// closes their connections, and ends their calls, watches and statements.

const database = useTestDatabase();

/** Much shorter than the calls that the clients leave open. */
const noticeTimeoutMs = 5_000;

beforeAll(() => makeSummariesSlow(database.pool, 60));

test("the service closes the connections of 300 clients that disconnect after a call", async () => {
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  const scenario = { services: [service], databaseUrl: database.url };
  await besideBystander(scenario, async () => {
    for (let client = 0; client < 300; client += 1) {
      const connection = await RawHttp2.open(service.url);
      await connection.call("GetSummary", recentDays("somebody"));
      await once(connection.socket, "data");
      await leave(connection, client % 2 === 0 ? "by FIN" : "by RST");
    }
    await expectOnlyBystander(service.url, noticeTimeoutMs);
  });
});

test.for(visibleWaysToLeave)(
  "the service ends the calls, watches and statements of clients that leave %s",
  async (way) => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    const scenario = { services: [service], databaseUrl: database.url };
    await besideBystander(scenario, async () => {
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawHttp2.open(service.url)));
      for (const [index, client] of clients.entries()) await openEverything(client, index);
      await waitForSleeper(database.pool);
      for (const client of clients) await leave(client, way);
      await vi.waitFor(async () => expect(await countSleepers(database.pool)).toBe(0), noticeTimeoutMs);
      if (way === "by RST_STREAM") for (const client of clients) client.close();
      await expectOnlyBystander(service.url, noticeTimeoutMs);
    });
  },
);

test.for(["exit", "SIGKILL", "SIGTERM"] as const)(
  "the service closes the connections of grpc-js processes that end by %s with a watch open",
  async (ending) => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    const scenario = { services: [service], databaseUrl: database.url };
    await besideBystander(scenario, async () => {
      const script = path.join(import.meta.dirname, "watching-client.ts");
      const clients = Array.from({ length: isLongForm ? 10 : 2 }, () =>
        spawn(process.execPath, [script, service.url], { stdio: ["pipe", "pipe", "inherit"] }),
      );
      using stack = new DisposableStack();
      for (const client of clients) stack.defer(() => client.kill("SIGKILL"));
      await Promise.all(clients.map(({ stdout }) => once(stdout, "data")));
      for (const client of clients) {
        if (ending === "exit") client.stdin.end("exit\n");
        else client.kill(ending);
      }
      await Promise.all(
        clients.map((client) => client.exitCode ?? client.signalCode ?? once(client, "exit")),
      );
      await expectOnlyBystander(service.url, noticeTimeoutMs);
    });
  },
);
