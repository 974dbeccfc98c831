import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Code } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { grpcClient } from "../support/clients.ts";
import { failureOf } from "../support/failures.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

// The test waits for the service's own time limits.
vi.setConfig({ testTimeout: 90_000 });

const database = useTestDatabase();

test("while the database does not respond, no write waits longer than one timeout; later writes succeed", async () => {
  const { proxy, url: proxiedUrl } = await proxyTo(database.url);
  const { url } = await startOwnService(proxiedUrl);
  const client = grpcClient(url);
  const write = () => client.createEntry({ requestId: randomUUID(), userId: randomUUID(), wordCount: 1 });
  // Opens both connections of the writer.
  await Promise.all(Array.from({ length: 100 }, write));

  proxy.silence();
  const calls: Promise<number>[] = [];
  for (let round = 0; round < 60; round += 1) {
    const start = performance.now();
    for (let call = 0; call < 10; call += 1) {
      const ended = failureOf(write()).then((error) => {
        expect(error).toMatchObject({ code: Code.Unavailable, rawMessage: "the database is unavailable" });
        expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
        return performance.now() - start;
      });
      calls.push(ended);
    }
    await sleep(50);
  }
  const waits = await Promise.all(calls);
  expect(Math.max(...waits), "milliseconds until the last response").toBeLessThan(20_000);

  proxy.heal();
  const start = performance.now();
  await Promise.all(Array.from({ length: 20 }, write));
  expect(performance.now() - start, "milliseconds until writes succeed").toBeLessThan(8_000);
});
