import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { beforeAll, expect, test } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { recordManyEntries } from "../support/record-entries.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isBusy } from "./bystander.ts";
import { isLongForm, report } from "./fault-run.ts";
import { openOwnClient } from "./own-client.ts";

// Readers request the most expensive summaries that are allowed, again and again. Meanwhile, the bystander can write,
// read and watch, and the service stays ready. The readers may get RESOURCE_EXHAUSTED, and never UNAVAILABLE.

const database = useTestDatabase();
const readingMs = isLongForm ? 10_000 : 5_000;

interface Readers {
  readonly name: string;
  readonly count: number;
  readonly request: (reader: number, turn: number) => SummaryRequest;
}

interface SummaryRequest {
  readonly userId: string;
  readonly granularity: Granularity;
  readonly from: { readonly seconds: bigint };
  readonly to: { readonly seconds: bigint };
  readonly timeZone?: string;
  readonly omitEmptyPeriods?: boolean;
  readonly movingAverageWindow?: number;
  readonly dayStart?: number;
}

const allReaders: readonly Readers[] = [
  {
    name: "ten readers request a century by hour, in a zone whose clock changes by half an hour",
    count: 10,
    request: (reader) => ({
      userId: `nobody ${reader}`,
      granularity: Granularity.HOUR,
      from: { seconds: 0n },
      to: { seconds: secondsOf("2084-01-01") },
      timeZone: "Australia/Lord_Howe",
      omitEmptyPeriods: true,
    }),
  },
  {
    name: "ten readers request a million days",
    count: 10,
    request: (reader) => ({
      userId: `nobody ${reader}`,
      granularity: Granularity.DAY,
      from: { seconds: 0n },
      to: { seconds: secondsOf("4700-01-01") },
      omitEmptyPeriods: true,
    }),
  },
  {
    name: "ten readers request two centuries by week, each time with another calendar",
    count: 10,
    request: (reader, turn) => ({
      userId: `nobody ${reader}`,
      granularity: Granularity.WEEK,
      from: { seconds: 0n },
      to: { seconds: secondsOf("2160-01-01") },
      timeZone: Intl.supportedValuesOf("timeZone")[reader] ?? "UTC",
      dayStart: (15 * turn) % 1_440,
    }),
  },
  {
    name: "a hundred readers request 25 years by day",
    count: 100,
    // Each reader requests a different summary, so that none is shared.
    request: (reader) => ({
      userId: "busy",
      granularity: Granularity.DAY,
      from: { seconds: secondsOf("2000-01-01") + BigInt(reader) },
      to: { seconds: secondsOf("2024-12-31") },
      timeZone: "America/New_York",
      movingAverageWindow: 7,
    }),
  },
];

beforeAll(() =>
  recordManyEntries(database.pool, {
    userId: "busy",
    count: isLongForm ? 400_000 : 50_000,
    from: "2000-01-01Z",
    to: "2025-01-01Z",
  }),
);

test.for(allReaders)("others are served while $name", { timeout: 240_000 }, async ({ count, request }) => {
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  await besideBystander({ services: [service], databaseUrl: database.url }, async (bystander) => {
    // A read of the bystander competes with all others, and may be rejected.
    using _ = bystander.excuse({
      errors: (error, activity) => activity.startsWith("reads") && isBusy(error),
    });
    using client = openOwnClient(service.url);
    const outcomes = new Map<string, number>();
    const until = performance.now() + readingMs;
    let slowestMs = 0;
    const read = async (reader: number) => {
      // Each call requests a different summary, so that none is memoized.
      for (let turn = 0; performance.now() < until; turn += 1) {
        const summary = request(reader, turn);
        const began = performance.now();
        const from = { seconds: summary.from.seconds + 1_000n * BigInt(turn) };
        const outcome = await client.learningLog.getSummary({ ...summary, from }, { timeoutMs: 40_000 }).then(
          () => "OK",
          (error) => outcomeOf(ConnectError.from(error)),
        );
        slowestMs = Math.max(slowestMs, performance.now() - began);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (outcome !== "OK") await sleep(200);
      }
    };
    await Promise.all(Array.from({ length: count }, (_, reader) => read(reader)));
    report(
      `  readers: ${[...outcomes].map((pair) => pair.join(" ")).join(", ")}; ${Math.round(slowestMs)} ms at most`,
    );
    expect([...outcomes.keys()].filter((outcome) => outcome.startsWith("!"))).toEqual([]);
    expect(outcomes.get("OK"), "summaries").toBeGreaterThan(0);
  });
});

/** The error of a reader, with an exclamation mark unless it is RESOURCE_EXHAUSTED with RetryInfo. */
function outcomeOf(error: ConnectError): string {
  return `${isBusy(error) ? "" : "! "}${Code[error.code]}: ${error.rawMessage}`;
}

function secondsOf(day: string): bigint {
  return BigInt(Date.parse(`${day}T00:00:00Z`) / 1000);
}
