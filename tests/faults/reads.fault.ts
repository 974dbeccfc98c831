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

// Readers ask for as much as one may ask for, again and again. A bystander writes, reads, watches and is told that the
// service is ready all the while; the readers themselves are told that it is busy, and never that the database is away.

const database = useTestDatabase();
const readingMs = isLongForm ? 10_000 : 5_000;

interface Readers {
  readonly name: string;
  readonly count: number;
  readonly request: (reader: number) => Question;
}

interface Question {
  readonly userId: string;
  readonly granularity: Granularity;
  readonly from: { readonly seconds: bigint };
  readonly to: { readonly seconds: bigint };
  readonly timeZone?: string;
  readonly omitEmptyPeriods?: boolean;
  readonly movingAverageWindow?: number;
}

const allReaders: readonly Readers[] = [
  {
    name: "ten readers of the hours of a century in a zone of half hours",
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
    name: "ten readers of a million days",
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
    name: "a hundred readers of 25 years of days",
    count: 100,
    // Each of them is another question.
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

test.for(allReaders)("$name", { timeout: 240_000 }, async ({ count, request }) => {
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  await besideBystander({ services: [service], databaseUrl: database.url }, async (bystander) => {
    // A read is one of many then, and may be told so.
    using _ = bystander.excuse({
      errors: (error, activity) => activity.startsWith("reads") && isBusy(error),
    });
    using client = openOwnClient(service.url);
    const outcomes = new Map<string, number>();
    const until = performance.now() + readingMs;
    let slowestMs = 0;
    const read = async (reader: number) => {
      // Each time, it is another question.
      for (let turn = 0n; performance.now() < until; turn += 1n) {
        const question = request(reader);
        const began = performance.now();
        const from = { seconds: question.from.seconds + 1_000n * turn };
        const outcome = await client.learningLog
          .getSummary({ ...question, from }, { timeoutMs: 40_000 })
          .then(
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

/** With an exclamation mark unless it tells that the service is busy, and when to come again. */
function outcomeOf(error: ConnectError): string {
  return `${isBusy(error) ? "" : "! "}${Code[error.code]}: ${error.rawMessage}`;
}

function secondsOf(day: string): bigint {
  return BigInt(Date.parse(`${day}T00:00:00Z`) / 1000);
}
