import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { grpcClient } from "../support/clients.ts";
import { failureOf } from "../support/failures.ts";
import { healthClient } from "../support/grpc-js.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { lockTables } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

// The way to the database is lost, and found again.

const database = useTestDatabase();

test("says so everywhere while the database is away, and serves again when it is back", async () => {
  const { proxy, url } = await startBehindProxy();
  const client = grpcClient(url);
  const heard: unknown[] = [];
  const watch = healthClient(url).stream("watch", { service: "" });
  watch.on("data", ({ status }) => heard.push(status)).on("error", () => {});
  await client.createEntry(newEntry());

  proxy.cut();
  for (const call of [() => client.createEntry(newEntry()), () => client.getSummary(newRequest())]) {
    const error = await failureOf(call());
    expect(error).toMatchObject({ code: Code.Unavailable, rawMessage: "the database is away" });
    const [retry] = error.findDetails(RetryInfoSchema);
    expect(retry?.retryDelay).toMatchObject({ seconds: 1n });
  }
  await expect
    .poll(() => statusAndText(`${url}/readyz`), polling)
    .toBe("503 not ready: the database is away\n");
  await expect(statusAndText(`${url}/healthz`)).resolves.toBe("200 alive\n");

  proxy.heal();
  await expect.poll(() => statusAndText(`${url}/readyz`), polling).toBe("200 ready\n");
  await client.createEntry(newEntry());
  await client.getSummary(newRequest());
  expect(heard).toEqual(["SERVING", "NOT_SERVING", "SERVING"]);
  watch.cancel();
});

test("a call that is under way when the database goes away fails, and the service goes on", async () => {
  const { proxy, url } = await startBehindProxy();
  const client = grpcClient(url);
  await using lock = await lockTables(database);
  const calls = [client.createEntry(newEntry()), client.getSummary(newRequest())].map(failureOf);
  await lock.waitForBlocked(2);
  proxy.cut();
  for (const call of calls) expect(await call).toMatchObject({ code: Code.Unavailable });
  await lock.release();
  proxy.heal();
  await client.createEntry(newEntry());
});

test("a database that takes bytes and never answers counts as away", async () => {
  const { proxy, url } = await startBehindProxy();
  await expect(statusAndText(`${url}/readyz`)).resolves.toBe("200 ready\n");
  proxy.silence();
  await expect
    .poll(() => statusAndText(`${url}/readyz`), polling)
    .toBe("503 not ready: the database is away\n");
  proxy.cut();
  proxy.heal();
  await expect.poll(() => statusAndText(`${url}/readyz`), polling).toBe("200 ready\n");
});

const polling = { timeout: 25_000, interval: 100 };

async function startBehindProxy() {
  const { proxy, url: proxiedUrl } = await proxyTo(database.url);
  const { url } = await startOwnService(proxiedUrl);
  return { proxy, url };
}

function newEntry() {
  return { requestId: randomUUID(), userId: "mia", wordCount: 1 };
}

/** Never for the same learner twice, so that no answer is remembered. */
function newRequest() {
  const from = { seconds: 1_000_000_000n };
  return { userId: randomUUID(), from, to: from, granularity: Granularity.DAY };
}

async function statusAndText(url: string): Promise<string> {
  const response = await fetch(url);
  return `${response.status} ${await response.text()}`;
}
