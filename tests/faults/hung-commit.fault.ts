import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import type pg from "pg";
import { expect, onTestFinished, test, vi } from "vitest";
import { ConflictPolicy, type CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { startEmbeddedServer } from "../../src/database/embedded/embedded-server.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { grpcClient, type LearningLogClient } from "../support/clients.ts";
import { connect } from "../support/connection.ts";
import { startOwnService } from "../support/test-service.ts";

// The synchronous standby is unreachable, so transactions hang in their commit. Some of them hold the lock that orders
// notifications.

const log = createLog("silent");

/** How long the standby is unreachable. Meanwhile, heartbeats time out after four seconds, and are retried. */
const unreachableMs = 15_000;

test("reads are answered while commits hang, and contain the entries once these are committed", async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), "daily-aggregator-hung-"));
  onTestFinished(() => rm(dataDir, { recursive: true }));
  const server = await startEmbeddedServer({ dataDir, settings: { max_connections: "60" }, log });
  onTestFinished(() => server.stop());
  const client = grpcClient((await startOwnService(server.url)).url);
  const admin = await connect(server.url, { options: "-c synchronous_commit=off" });
  onTestFinished(() => admin.end());

  const [late, present] = [randomUUID(), randomUUID()];
  const seconds = BigInt(Math.floor(Date.now() / 1000));
  const longAgo = { seconds: seconds - 40n * 86_400n, nanos: 0 };
  const now = { seconds, nanos: 0 };
  const count = async (userId: string, time: typeof now) => {
    const range = { from: time, to: time, granularity: Granularity.DAY };
    const { periods } = await client.getSummary({ userId, ...range }, { timeoutMs: 5_000 });
    return periods[0]?.entryCount;
  };
  const watched: (bigint | undefined)[] = [];
  const watching = new AbortController();
  onTestFinished(() => watching.abort());
  const follow = async () => {
    const request = { userId: present, from: now, to: now, granularity: Granularity.DAY };
    for await (const { periods } of client.watchSummary(request, { signal: watching.signal })) {
      watched.push(...periods.map(({ entryCount }) => entryCount));
    }
  };
  expect(await count(late, longAgo)).toBe(0n);

  onTestFinished(() => requireStandby(admin, ""));
  await requireStandby(admin, "nobody");
  const written = Promise.all([
    record(client, { requestId: randomUUID(), userId: late, wordCount: 1, timestamp: longAgo }),
    record(client, { requestId: randomUUID(), userId: present, wordCount: 1, timestamp: now }),
  ]);
  // A failure is reported below, where this is awaited.
  written.catch(() => {});
  const followed = follow().catch(() => {});
  const until = performance.now() + unreachableMs;
  while (performance.now() < until) {
    expect(await count(late, longAgo)).toBe(0n);
    await sleep(100);
    const { rows } = await admin.query(
      "SELECT count(*)::integer AS links FROM pg_stat_activity WHERE application_name = 'daily-aggregator heartbeats'",
    );
    // A connection whose heartbeat waits for the lock of a commit is closed after the timeout.
    expect(rows[0].links).toBeLessThanOrEqual(2);
  }
  await requireStandby(admin, "");

  await written;
  expect(await count(late, longAgo)).toBe(1n);
  expect(await count(present, now)).toBe(1n);
  await vi.waitFor(() => expect(watched.at(-1)).toBe(1n), { timeout: 20_000 });
  watching.abort();
  await followed;
});

/** Records an entry. While its commit hangs, calls fail with UNAVAILABLE, and are retried. */
async function record(
  client: LearningLogClient,
  entry: MessageInitShape<typeof CreateEntryRequestSchema>,
): Promise<void> {
  for (;;) {
    try {
      await client.createEntry({ ...entry, onConflict: ConflictPolicy.IGNORE });
      return;
    } catch (error) {
      const failure = ConnectError.from(error);
      if (failure.findDetails(RetryInfoSchema).length === 0) throw failure;
      await sleep(200);
    }
  }
}

/** Makes commits wait for a synchronous standby. @param name the name of the standby, or "" for none */
async function requireStandby(admin: pg.Client, name: string): Promise<void> {
  await admin.query(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`);
  await admin.query("SELECT pg_reload_conf()");
  await vi.waitFor(async () => {
    const { rows } = await admin.query("SHOW synchronous_standby_names");
    expect(rows[0].synchronous_standby_names).toBe(name);
  });
}
