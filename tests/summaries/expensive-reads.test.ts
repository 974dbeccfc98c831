import { randomUUID } from "node:crypto";
import { Code, type ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { expect, onTestFinished, test, vi } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#gen/health/v1/health_pb.js";
import { grpcClient } from "../support/clients.ts";
import { failureOf } from "../support/failures.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import { lockTables } from "../support/table-locks.ts";
import { useTestService } from "../support/test-service.ts";
import { summaryRequestOf } from "./ask.ts";
import { zoneNames } from "./zones.ts";

const service = useTestService({ databasePools: { reads: 4, writes: 2 } });
const client = () => grpcClient(service.url);

/** The longest time that a small call may take. It is long, because it detects starvation, not a slow machine. */
const bystanderMs = 10_000;

const centuryOfHours = {
  timeZone: "Australia/Lord_Howe",
  granularity: Granularity.HOUR,
  from: micros("1970-01-01T00:00Z"),
  to: micros("2083-12-31T00:00Z"),
  omitEmptyPeriods: true,
};
const millionDays = {
  timeZone: "Europe/Berlin",
  granularity: Granularity.DAY,
  from: micros("1970-01-01T00:00Z"),
  to: micros("4700-01-01T00:00Z"),
  omitEmptyPeriods: true,
};
/** Takes the database a fifth of a second in each time zone and for each start of the day. */
const centuriesOfWeeks = {
  timeZone: "UTC",
  granularity: Granularity.WEEK,
  from: micros("1970-01-01T00:00Z"),
  to: micros("2160-01-01T00:00Z"),
};
const today = () => {
  const now = BigInt(Date.now()) * 1000n;
  return { timeZone: "UTC", granularity: Granularity.DAY, from: now, to: now };
};

test.for([
  ["a century of hours", centuryOfHours],
  ["a million days", millionDays],
] as const)("a summary of %s is fast for a learner without entries", async ([, question]) => {
  const asked = Array.from({ length: 10 }, () =>
    client().getSummary(summaryRequestOf(randomUUID(), question), { timeoutMs: 15_000 }),
  );
  for (const { periods } of await Promise.all(asked)) expect(periods).toEqual([]);
});

test("a summary of a million days contains all days with entries, and their moving averages", async () => {
  const entries = ["2024-02-10T12:00Z", "2024-02-11T12:00Z", "2024-03-01T12:00Z"].map((time) => ({
    timestamp: micros(time),
    wordCount: 3,
  }));
  const userId = await recordLearner(service.database.connections, entries);
  const asked = { ...summaryRequestOf(userId, millionDays), movingAverageWindow: 2, timeZone: "UTC" };
  const { periods } = await client().getSummary(asked);
  expect(periods).toMatchObject([
    { period: { seconds: 1_707_523_200n }, movingAverage: 1.5 },
    { period: { seconds: 1_707_609_600n }, movingAverage: 3 },
    { period: { seconds: 1_709_251_200n }, movingAverage: 1.5 },
  ]);
});

test("repeated requests for new calendars do not delay writes, reads, watches or health checks", async () => {
  const over = new AbortController();
  const outcomes: ConnectError[] = [];
  const readers = Array.from({ length: 10 }, async (_, reader) => {
    for (let dayStart = 0; !over.signal.aborted; dayStart = (dayStart + 15) % (24 * 60)) {
      const timeZone = zoneNames[reader] ?? "UTC";
      const asked = { ...summaryRequestOf(randomUUID(), centuriesOfWeeks), timeZone, dayStart };
      const call = client().getSummary(asked, { signal: over.signal });
      await call.catch((error: ConnectError) => outcomes.push(error));
    }
  });
  onTestFinished(async () => {
    over.abort();
    await Promise.all(readers);
  });
  await vi.waitFor(async () => expect(await largeReads()).toBe(1), { timeout: 20_000 });

  const bystander = grpcClient(service.url);
  const health = createClient(Health, createGrpcTransport({ baseUrl: service.url }));
  const userId = randomUUID();
  const watching = bystander
    .watchSummary(summaryRequestOf(userId, today()), { signal: over.signal })
    [Symbol.asyncIterator]();
  await watching.next();
  for (let written = 1; written <= 3; written += 1) {
    const options = { timeoutMs: bystanderMs };
    await bystander.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }, options);
    const { periods } = await bystander.getSummary(summaryRequestOf(userId, today()), options);
    expect(periods[0]?.entryCount).toBe(BigInt(written));
    expect((await bystander.listEntries({ userId }, options)).entries).toHaveLength(written);
    expect((await health.check({}, options)).status).toBe(ServingStatus.SERVING);
    const { value } = await watching.next();
    expect(value.periods).toMatchObject([{ entryCount: BigInt(written) }]);
  }
  // The large reads are still in progress, and the error of each rejected one states the right reason.
  await vi.waitFor(async () => expect(await largeReads()).toBe(1), { timeout: 20_000 });
  for (const error of outcomes) {
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.rawMessage).not.toContain("the database is unavailable");
    expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
  }
});

test("health checks are answered, and probes run, while all connections for reads and writes are in use", async () => {
  await using _lock = await lockTables(service.database);
  const over = new AbortController();
  onTestFinished(() => over.abort());
  const options = { signal: over.signal };
  const quiet = (call: Promise<unknown>) => void call.catch(() => {});
  for (let call = 0; call < 20; call += 1) {
    quiet(client().getSummary(summaryRequestOf(randomUUID(), today()), options));
    quiet(client().getSummary(summaryRequestOf(randomUUID(), millionDays), options));
    quiet(client().createEntry({ requestId: randomUUID(), userId: randomUUID(), wordCount: 1 }, options));
    const entries = [{ requestId: randomUUID(), userId: randomUUID(), wordCount: 1 }];
    quiet(client().batchCreateEntries({ entries }, options));
  }
  // Three connections for small reads, one for large reads, and two for writes.
  await vi.waitFor(async () => expect(await blocked()).toBeGreaterThanOrEqual(6), { timeout: 20_000 });
  const { rows } = await service.database.pool.query("SELECT clock_timestamp() AS now");
  const health = createClient(Health, createGrpcTransport({ baseUrl: service.url }));
  await vi.waitFor(async () => expect(await probedSince(rows[0].now)).toBe(true), { timeout: 20_000 });
  expect((await health.check({}, { timeoutMs: bystanderMs })).status).toBe(ServingStatus.SERVING);
  expect((await fetch(`${service.url}/readyz`)).status).toBe(200);
});

const tooManyCalls = 3 * 200 + 20;

test("a call gets RESOURCE_EXHAUSTED with RetryInfo while too many other calls wait", async () => {
  await using _lock = await lockTables(service.database);
  const over = new AbortController();
  onTestFinished(() => over.abort());
  const calls = Array.from({ length: tooManyCalls }, () =>
    failureOf(client().getSummary(summaryRequestOf(randomUUID(), today()), { signal: over.signal })),
  );
  const error = await Promise.race(calls);
  expect({ code: error.code, message: error.rawMessage }).toEqual({
    code: Code.ResourceExhausted,
    message: "too many reads are under way",
  });
  expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
  over.abort();
  await Promise.all(calls);
});

function largeReads(): Promise<number> {
  return count("application_name LIKE '%large reads' AND state = 'active'");
}

function blocked(): Promise<number> {
  return count("wait_event_type = 'Lock' AND application_name LIKE 'daily-aggregator %'");
}

async function count(condition: string): Promise<number> {
  const { rows } = await service.database.pool.query(
    `SELECT count(*)::integer AS count FROM pg_stat_activity WHERE datname = current_database() AND ${condition}`,
  );
  return rows[0].count;
}

/** Whether the service has probed the database since a time. */
async function probedSince(time: Date): Promise<boolean> {
  const { rows } = await service.database.pool.query(
    `SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE '%probes' AND state = 'idle' AND query_start > $1`,
    [time],
  );
  return rows.length > 0;
}
