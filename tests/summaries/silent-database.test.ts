import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished, test, vi } from "vitest";
import { grpcClient } from "../support/clients.ts";
import { FollowedWatch } from "../support/followed-watch.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

// It takes the service's own time limits.
vi.setConfig({ testTimeout: 90_000 });

const database = useTestDatabase();

test("watches whose connections to the database fell silent go on over others", async () => {
  const { proxy, url: proxiedUrl } = await proxyTo(database.url);
  const watching = grpcClient((await startOwnService(proxiedUrl)).url);
  const writing = grpcClient((await startOwnService(database.url)).url);
  const userId = randomUUID();
  const write = () => writing.createEntry({ requestId: randomUUID(), userId, wordCount: 1 });
  const small = await FollowedWatch.open(watching, userId);
  // Its statements may take longer.
  const large = await FollowedWatch.open(watching, userId, 6_000);
  onTestFinished(async () => {
    await Promise.all([small.close(), large.close()]);
  });
  await write();
  await Promise.all([small.waitFor(1, 10_000), large.waitFor(1, 10_000)]);

  proxy.silence();
  await write();
  // Both ask the database again, for the instance gets no notifications.
  await sleep(3_000);
  proxy.heal();
  await Promise.all([small.waitFor(2, 20_000), large.waitFor(2, 50_000)]);
});
