import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { createSummaryMemo, wrapSummary } from "../../src/routes.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { getSummary } from "../../src/summaries/get-summary.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { unaryNodeAdapter } from "../../src/transport/unary/unary-node-adapter.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import { TestClock } from "../support/test-clock.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { createWritePath } from "../support/write-path.ts";
import { serve } from "../transport/unary/adapters.ts";
import { summaryRequestOf } from "./ask.ts";

// Summaries that the memo keeps in each form in which they were sent, from the entry to the client's answer.

const database = useTestDatabase();
const clock = new TestClock();

// One instance, created as in `src/service.ts`.
const { writer, changes, notifications } = createWritePath({
  pool: database.connections,
  databaseUrl: database.url,
  limits: { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 10_000 },
  recentEntries: 0,
  clock,
  log: createLog("silent"),
});

const noon = micros("2024-02-29T12:00Z");
/** Each has two entries of the leap day, recorded before the instance listened, so that no notification arrives. */
let learners: string[];
/** The same, and a test records a late entry. */
let changedLearner: string;

beforeAll(async () => {
  const entries = [3, 4].map((wordCount) => ({ timestamp: noon, wordCount }));
  const newLearner = () => recordLearner(database.connections, entries);
  learners = [await newLearner(), await newLearner(), await newLearner(), await newLearner()];
  changedLearner = await newLearner();
  notifications.start();
  // The clock stops while the memo may store summaries, so that it still may on a busy machine.
  await vi.waitFor(
    () => {
      clock.stop();
      try {
        expect(changes.isCurrent()).toBe(true);
        expect(changes.memoizableUntil()).toBeDefined();
      } catch (error) {
        clock.start();
        throw error;
      }
    },
    { timeout: 20_000, interval: 10 },
  );
});
afterAll(async () => {
  clock.start();
  changes.watched.close();
  await notifications.close();
});

const leapYear = {
  from: micros("2024-01-01T00:00Z"),
  to: micros("2024-12-31T00:00Z"),
  granularity: Granularity.DAY,
  timeZone: "Europe/Berlin",
};
const pools = { small: database.connections, large: database.connections };

/** Serves GetSummary with a memo until the test finishes. @returns the URL, and the memo */
async function serveSummaries(maxBytes: number) {
  const memo = createSummaryMemo(changes, maxBytes);
  const dependencies = { pools, calendars: new Calendars(), memo, wrap: wrapSummary };
  const url = await serve(unaryNodeAdapter, {
    getSummary: async (request, context) => (await getSummary(dependencies, request, context)).toMessage(),
  });
  return { memo, url };
}

const forms = [
  ["Connect in JSON", createConnectTransport, false, []],
  ["Connect in JSON with gzip", createConnectTransport, false, [compressionGzip]],
  ["Connect in Protobuf", createConnectTransport, true, []],
  ["Connect in Protobuf with gzip", createConnectTransport, true, [compressionGzip]],
  ["gRPC", createGrpcTransport, true, []],
  ["gRPC with gzip", createGrpcTransport, true, [compressionGzip]],
  ["gRPC-Web in JSON with gzip", createGrpcWebTransport, false, [compressionGzip]],
] as const;

/** Returns a function that requests the leap year of 2024. */
function askerOf(
  url: string,
  userId: string,
  [, createTransport, useBinaryFormat, compressions]: (typeof forms)[number],
) {
  const acceptCompression = [...compressions];
  const transport = createTransport({ baseUrl: url, httpVersion: "2", useBinaryFormat, acceptCompression });
  const client = createClient(LearningLogService, transport);
  return () => client.getSummary(summaryRequestOf(userId, leapYear));
}

test.for(forms)("a memoized summary over %s is the same as a fresh one, and counts once", async (form) => {
  const { memo, url } = await serveSummaries(1_000_000);
  // This memo has no room for any summary.
  const fresh = await serveSummaries(1);
  const [userId = ""] = learners;
  const expected = await askerOf(fresh.url, userId, form)();
  expect(expected.periods.filter(({ totalWordCount }) => totalWordCount === 7n)).toHaveLength(1);

  const ask = askerOf(url, userId, form);
  expect(await ask()).toEqual(expected);
  const { bytes } = memo;
  expect(bytes).toBeGreaterThan(0);
  expect(await Promise.all([ask(), ask(), ask()])).toEqual([expected, expected, expected]);
  expect(memo.bytes).toBe(bytes);
  expect({ hits: memo.hits, misses: memo.misses }).toEqual({ hits: 3, misses: 1 });
  expect(fresh.memo.bytes).toBe(0);
});

test("each further form of a memoized summary counts, and a late write discards all of them", async () => {
  const { memo, url } = await serveSummaries(1_000_000);
  const userId = changedLearner;
  const sizes = new Set<number>();
  const askers = forms.map((form) => askerOf(url, userId, form));
  for (const ask of askers) {
    await ask();
    sizes.add(memo.bytes);
  }
  // Compressed and not, in JSON and in Protobuf. The protocols share them.
  expect([...sizes].toSorted((a, b) => a - b)).toEqual([...sizes]);
  expect(sizes.size).toBe(3);

  const late = { requestId: randomUUID(), userId, wordCount: 9, timestamp: noon, hasTimestamp: true };
  await writer.record(late, new AbortController());
  expect(memo.bytes).toBe(0);
  for (const ask of askers) {
    const { periods } = await ask();
    expect(periods.reduce((sum, { totalWordCount }) => sum + totalWordCount, 0n)).toBe(16n);
  }
});

test("the forms of memoized summaries together stay within the limit", async () => {
  const { memo, url } = await serveSummaries(60_000);
  const most: number[] = [];
  for (const userId of learners) {
    for (const form of forms) {
      await askerOf(url, userId, form)();
      most.push(memo.bytes);
    }
  }
  expect(Math.max(...most)).toBeLessThanOrEqual(60_000);
  expect(Math.max(...most)).toBeGreaterThan(30_000);
  expect(memo.evictions).toBeGreaterThan(0);
});
