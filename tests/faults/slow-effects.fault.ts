import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, test } from "vitest";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import { withConnection } from "../support/connection.ts";
import { FollowedWatch } from "../support/followed-watch.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { report, seededRandom } from "./fault-run.ts";
import { answerPings, leave } from "./leave.ts";
import { expectOnlyBystander } from "./left-behind.ts";
import { underLoad, write } from "./load.ts";
import { openEverything } from "./open-everything.ts";
import { openOwnClient } from "./own-client.ts";
import { RawHttp2 } from "./raw-http2.ts";
import { makeSummariesSlow, slowSummaryRequest } from "./slow-summaries.ts";

// Faults whose effects show only after half a minute or more. The tests run concurrently, because they mostly wait.

const random = seededRandom("patience");

/** The longest time from a commit until a watch shows the entry. */
const noticeMs = 3_000;

/** After half a minute, the other instances forget which learners an instance watches. */
const forgottenMs = 36_000;

/** The longest time until the connection of a silent peer is closed. Before that, the service sends it a PING. */
const silenceTimeoutMs = 90_000;

describe.concurrent("silent clients", () => {
  const database = useTestDatabase();

  test("the service closes the connections of clients that lose their network, and of a stopped process", {
    timeout: 240_000,
  }, async () => {
    await using service = await startServiceProcess({ DATABASE_URL: database.url });
    await besideBystander({ services: [service], databaseUrl: database.url }, async () => {
      const { hostname, port } = new URL(service.url);
      const network = await TcpProxy.start({ host: hostname, port: Number(port) });
      const throughNetwork = `http://127.0.0.1:${network.port}`;
      const clients = await Promise.all(Array.from({ length: 20 }, () => RawHttp2.open(throughNetwork)));
      for (const client of clients) answerPings(client);
      for (const [index, client] of clients.entries()) await openEverything(client, index);
      const script = path.join(import.meta.dirname, "watching-client.ts");
      const stopped = spawn(process.execPath, [script, service.url], { stdio: ["pipe", "pipe", "inherit"] });
      using stack = new DisposableStack();
      stack.defer(() => stopped.kill("SIGKILL"));
      await once(stopped.stdout, "data");
      stopped.kill("SIGSTOP");
      for (const client of clients) await leave(client, "in silence", network);
      const start = performance.now();
      await expectOnlyBystander(service.url, silenceTimeoutMs);
      report(`  silent clients were detected after ${Math.round((performance.now() - start) / 1000)} s`);
      await network.stop();
    });
  });
});

describe.concurrent("instances that cannot publish their watches", () => {
  const database = useTestDatabase();
  const role = `busy_${randomUUID().replaceAll("-", "_")}`;
  const password = randomUUID();

  beforeAll(async () => {
    await database.pool.query(`CREATE ROLE ${role} SUPERUSER LOGIN PASSWORD '${password}'`);
    await makeSummariesSlow(database.pool, 55, role);
  });

  afterAll(async () => {
    await database.pool.query(
      `ALTER ROLE ${role} IN DATABASE ${new URL(database.url).pathname.slice(1)} RESET ALL`,
    );
    await database.pool.query(`DROP ROLE ${role}`);
  });

  test("a stopped and a busy instance soon show every entry when they continue", {
    timeout: 240_000,
  }, async () => {
    const busyUrl = new URL(database.url);
    busyUrl.username = role;
    busyUrl.password = password;
    // Its slow summaries do not time out, so that none of its connections becomes free.
    busyUrl.searchParams.set("statement_timeout", "60000");
    busyUrl.searchParams.set("query_timeout", "60000");
    await using busy = await startServiceProcess({ DATABASE_URL: busyUrl.href });
    await using stopped = await startServiceProcess({ DATABASE_URL: database.url });
    await using other = await startServiceProcess({ DATABASE_URL: database.url });
    // Neither of the two can serve a bystander in time.
    await besideBystander({ services: [other], databaseUrl: database.url }, async (bystander) => {
      using writing = openOwnClient(other.url);
      using watchingStopped = openOwnClient(stopped.url);
      using watchingBusy = openOwnClient(busy.url);
      using reading = openOwnClient(busy.url);
      const watches: FollowedWatch[] = [];
      for (const { learningLog } of [watchingStopped, watchingBusy]) {
        for (let watch = 0; watch < 10; watch += 1)
          watches.push(await FollowedWatch.open(learningLog, `watched ${randomUUID()}`));
      }
      let written = 0;
      const writeAll = async () => {
        for (const { userId } of watches) await write(writing.learningLog, userId);
        written += 1;
      };
      // A new watch reads its summary again after a second. Wait until that is over.
      await sleep(2_000);
      const readers = new AbortController();
      const reads = Array.from({ length: 60 }, async (_, reader) => {
        while (!readers.signal.aborted) {
          const options = { timeoutMs: 60_000, signal: readers.signal };
          await reading.learningLog.getSummary(slowSummaryRequest(`slow ${reader}`), options).catch(() => {});
          await sleep(100);
        }
      });
      await underLoad(writing.learningLog, random, async () => {
        stopped.signal("SIGSTOP");
        await sleep(forgottenMs);
        await writeAll();
        await sleep(1_000);
        stopped.signal("SIGCONT");
        readers.abort();
      });
      const resumed = performance.now();
      for (const watch of watches) await watch.waitFor(written, bystander.scaled(noticeMs));
      report(
        `  ${watches.length} watches showed every entry after ${Math.round(performance.now() - resumed)} ms`,
      );
      await Promise.all(reads);
      for (const watch of watches) await watch.close();
      await withConnection(database.url, expectAggregatesMatchLog);
    });
  });
});
