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

// The connection to the database is lost and restored.

const database = useTestDatabase();

test("calls and health checks fail while the database is unavailable, and succeed again afterwards", async () => {
  const { proxy, url } = await startBehindProxy();
  const client = grpcClient(url);
  const statuses: unknown[] = [];
  const watch = healthClient(url).stream("watch", { service: "" });
  watch.on("data", ({ status }) => statuses.push(status)).on("error", () => {});
  await client.createEntry(newEntry());

  proxy.cut();
  for (const call of [() => client.createEntry(newEntry()), () => client.getSummary(newRequest())]) {
    const error = await failureOf(call());
    expect(error).toMatchObject({ code: Code.Unavailable, rawMessage: "the database is unavailable" });
    const [retry] = error.findDetails(RetryInfoSchema);
    expect(retry?.retryDelay).toMatchObject({ seconds: 1n });
  }
  await expect
    .poll(() => statusAndText(`${url}/readyz`), polling)
    .toBe("503 not ready: the database is unavailable\n");
  await expect(statusAndText(`${url}/healthz`)).resolves.toBe("200 alive\n");

  proxy.heal();
  await expect.poll(() => statusAndText(`${url}/readyz`), polling).toBe("200 ready\n");
  await client.createEntry(newEntry());
  await client.getSummary(newRequest());
  expect(statuses).toEqual(["SERVING", "NOT_SERVING", "SERVING"]);
  watch.cancel();
});

test("in-flight calls fail when the connection to the database breaks, and later calls succeed", async () => {
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

test("a database that accepts bytes but never answers counts as unavailable", async () => {
  const { proxy, url } = await startBehindProxy();
  await expect(statusAndText(`${url}/readyz`)).resolves.toBe("200 ready\n");
  proxy.silence();
  await expect
    .poll(() => statusAndText(`${url}/readyz`), polling)
    .toBe("503 not ready: the database is unavailable\n");
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

/** Returns a request for a new learner, so that no answer comes from the memo. */
function newRequest() {
  const from = { seconds: 1_000_000_000n };
  return { userId: randomUUID(), from, to: from, granularity: Granularity.DAY };
}

async function statusAndText(url: string): Promise<string> {
  const response = await fetch(url);
  return `${response.status} ${await response.text()}`;
}
