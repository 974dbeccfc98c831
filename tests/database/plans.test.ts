import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { beforeAll, describe, expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { timestampFromMicros } from "../../src/database/timestamps.ts";
import { createDeletionRetry } from "../../src/entries/delete-entry.ts";
import { deleteEntryRow } from "../../src/entries/sql/delete-entry-row.ts";
import { deleteUserEntryRows } from "../../src/entries/sql/delete-user-entry-rows.ts";
import { findEntries } from "../../src/entries/sql/find-entries.ts";
import { findLockedLearners } from "../../src/entries/sql/find-locks.ts";
import { selectEntries } from "../../src/entries/sql/select-entries.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { findExtent } from "../../src/summaries/sql/find-extent.ts";
import { summarize } from "../../src/summaries/summarize.ts";
import { summaryRequest } from "../../src/summaries/summary-request.ts";
import { micros } from "../support/micros.ts";
import { recordManyEntries } from "../support/record-entries.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { planCacheModes, scansOf, type TableScan } from "./plans.ts";

// Each statement reads only the rows that it needs, through an index, however many entries a learner has, and whether
// PostgreSQL uses a custom or a generic plan. PLAN_ENTRIES is the number of entries of the learner with the most
// entries. More than a million take minutes to load.

const database = useTestDatabase();
const signal = new AbortController().signal;
const entryCount = Number(process.env.PLAN_ENTRIES ?? 10_000);
const loadMs = 60_000 + entryCount / 10;

const aggregatesKey = "learning_log_aggregates_pkey";
const logKey = "learning_log_pkey";
const logInTime = "learning_log_user_id_timestamp_request_id";

beforeAll(async () => {
  await recordManyEntries(database.pool, {
    userId: "mia",
    count: entryCount,
    from: "2025-01-01Z",
    to: "2026-01-01Z",
  });
  await recordManyEntries(database.pool, {
    userId: "ada",
    count: 100,
    from: "1971-01-01Z",
    to: "1971-01-02Z",
  });
  for (let other = 0; other < 300; other += 1) {
    const years = { from: "2024-01-01Z", to: "2026-01-01Z" };
    await recordManyEntries(database.pool, { userId: `user-${other}`, count: 100, ...years });
  }
  await database.pool.query("VACUUM ANALYZE");
}, loadMs);

const year2025 = { from: "2025-01-01T12:00Z", to: "2025-12-31T12:00Z" };

describe.for(planCacheModes)("with plan_cache_mode %s", (mode) => {
  const scans = (run: Parameters<typeof scansOf>[2]) => scansOf(database.url, mode, run);
  const summaryScans = (granularity: Granularity, timeZone: string, userId = "mia", range = year2025) =>
    scans((pool) => {
      const message = create(GetSummaryRequestSchema, {
        userId,
        from: timestampFromMicros(micros(range.from)),
        to: timestampFromMicros(micros(range.to)),
        granularity,
        timeZone,
        movingAverageWindow: 7,
      });
      const pools = { small: pool, large: pool };
      return summarize({ pools, calendars: new Calendars() }, summaryRequest(message), signal);
    });

  const { HOUR, DAY, WEEK, MONTH, QUARTER, YEAR } = Granularity;
  const granularities = [HOUR, DAY, WEEK, MONTH, QUARTER, YEAR].map(
    (granularity) => [Granularity[granularity], granularity] as const,
  );

  // London's offset changes at 01:00 UTC, and Lord Howe's changes by half an hour.
  test.for(
    granularities.flatMap(([name, granularity]) =>
      ["UTC", "Europe/London", "Australia/Lord_Howe"].map((zone) => [name, zone, granularity] as const),
    ),
  )("a summary by %s in %s reads a range of the learner's aggregates", async ([, zone, granularity]) => {
    const found = await summaryScans(granularity, zone);
    expectRanges(found);
    expect(found).toContainEqual(expect.objectContaining({ index: aggregatesKey, wasRun: true }));
    expect(found).not.toContainEqual(expect.objectContaining({ index: logInTime, wasRun: true }));
  });

  test.for([
    ["DAY", Granularity.DAY],
    ["HOUR", Granularity.HOUR],
  ] as const)("a summary by %s reads the log where a bucket spans two periods", async ([, granularity]) => {
    const found = await summaryScans(granularity, "Africa/Monrovia", "ada", {
      from: "1971-01-01T12:00Z",
      to: "1971-01-01T12:00Z",
    });
    expectRanges(found);
    expect(found).toContainEqual(expect.objectContaining({ index: logInTime, wasRun: true }));
  });

  test("a learner's first and last bucket are found through the primary key", async () => {
    const year = { from: Date.UTC(2025, 0) / 1000, to: Date.UTC(2026, 0) / 1000 };
    const found = await scans((pool) => findExtent(pool, "mia", year, signal));
    expectRanges(found);
    expect(indexesOf(found)).toEqual(new Set([aggregatesKey]));
  });

  test.for([
    ["first", undefined],
    ["next", { timestamp: micros("2025-06-01T00:00Z"), requestId: randomUUID() }],
  ] as const)("the %s page of a list reads a learner's entries from the page's start", async ([, after]) => {
    const from = micros("2025-01-02T00:00Z");
    const found = await scans((pool) => selectEntries(pool, { userId: "mia", from, after }, 100, signal));
    expectRanges(found);
    expect(found).toEqual([expect.objectContaining({ index: logInTime, wasRun: true })]);
  });

  test("entries are found by request_id through the primary key", async () => {
    const found = await scans((pool) => findEntries(pool, [randomUUID(), randomUUID()]));
    expect(indexesOf(found)).toEqual(new Set([logKey]));
  });

  test("locked aggregates are found through the primary key", async () => {
    const entries = [1, 2].map(() => ({
      requestId: randomUUID(),
      userId: randomUUID(),
      wordCount: 1,
      timestamp: 1_740_000_000_000_000n,
    }));
    const found = await scans((pool) => findLockedLearners(pool, entries));
    expect(indexesOf(found)).toEqual(new Set([aggregatesKey]));
  });

  test("an entry and its aggregate are deleted through their primary keys", async () => {
    const userId = randomUUID();
    await recordManyEntries(database.pool, {
      userId,
      count: 1,
      from: "2025-03-01Z",
      to: "2025-03-02Z",
    });
    const { rows } = await database.pool.query("SELECT request_id FROM learning_log WHERE user_id = $1", [
      userId,
    ]);
    const found = await scans((pool) => deleteEntryRow(pool, rows[0].request_id));
    expect(indexesOf(found)).toEqual(new Set([logKey, aggregatesKey]));
  });

  test("a learner's entries and aggregates are deleted through indexes", async () => {
    const userId = randomUUID();
    await recordManyEntries(database.pool, {
      userId,
      count: 1000,
      from: "2025-01-01Z",
      to: "2026-01-01Z",
    });
    const found = await scans((pool) => deleteUserEntryRows(pool, createDeletionRetry(), userId));
    expect(indexesOf(found)).toEqual(new Set([logKey, logInTime, aggregatesKey]));
  });
});

/** Expects that each scan reads one learner and a limited range of time, through an index. */
function expectRanges(scans: readonly TableScan[]): void {
  const timeColumns = { learning_log: "timestamp", learning_log_aggregates: "bucket" };
  for (const { table, index, condition } of scans) {
    expect([aggregatesKey, logInTime], `the index through which ${table} is read`).toContain(index);
    expect(condition).toMatch(/user_id = /);
    const column = timeColumns[table as keyof typeof timeColumns];
    expect(condition).toMatch(new RegExp(`${column}"?\\)? >=? `));
    expect(condition).toMatch(new RegExp(`${column}"?.*\\)? < `));
  }
}

function indexesOf(scans: readonly TableScan[]): Set<string | undefined> {
  return new Set(scans.map(({ index }) => index));
}
