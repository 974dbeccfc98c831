import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { onTestFinished, test, vi } from "vitest";
import { grpcClient } from "../support/clients.ts";
import { FollowedWatch } from "../support/followed-watch.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

// The test waits for the service's own time limits.
vi.setConfig({ testTimeout: 90_000 });

const database = useTestDatabase();

test("watches continue over new connections if their connections to the database stop responding", async () => {
  const { proxy, url: proxiedUrl } = await proxyTo(database.url);
  const watching = grpcClient((await startOwnService(proxiedUrl)).url);
  const writing = grpcClient((await startOwnService(database.url)).url);
  const userId = randomUUID();
  const write = () => writing.createEntry({ requestId: randomUUID(), userId, wordCount: 1 });
  const small = await FollowedWatch.open(watching, userId);
  // Large, so its statements have a longer timeout.
  const large = await FollowedWatch.open(watching, userId, 6_000);
  onTestFinished(async () => {
    await Promise.all([small.close(), large.close()]);
  });
  await write();
  await Promise.all([small.waitFor(1, 10_000), large.waitFor(1, 10_000)]);

  proxy.silence();
  await write();
  // Meanwhile, both watches query the database, because the instance receives no notifications.
  await sleep(3_000);
  proxy.heal();
  await Promise.all([small.waitFor(2, 20_000), large.waitFor(2, 50_000)]);
});
