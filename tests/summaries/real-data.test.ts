import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { beforeAll, expect, test } from "vitest";
import { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { unknownWatches } from "../../src/changes/watched-learners.ts";
import type { EntryPayload } from "../../src/entries/entry.ts";
import { insertEntries } from "../../src/entries/sql/insert-entries.ts";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { useTestService } from "../support/test-service.ts";
import { type AnsweredPeriod, askService, withAverages } from "./ask.ts";
import { summarize } from "./oracle.ts";

// Uses a log of real learners, if one is given: WRITING_LOG=FILE npx vitest run tests/summaries/real-data.test.ts
// FILE is a CSV file without quotes, compressed with gzip. Its first line is `request_id,user_id,word_count,timestamp`,
// and its timestamps have the format of RFC 3339.

const file = process.env.WRITING_LOG;
const service = useTestService();

const timeZones = [
  ...[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/St_Johns",
  ],
  ...["Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham"],
];

const day = 86_400_000_000n;

let entries: EntryPayload[] = [];
beforeAll(async () => {
  if (!file) return;
  entries = await readLog(file);
  for (let index = 0; index < entries.length; index += 1000) {
    await insertEntries(service.database.connections, entries.slice(index, index + 1000), unknownWatches);
  }
});

test.runIf(file)(
  "the 20 busiest learners of a real log get the oracle's summaries in ten time zones",
  { timeout: 900_000 },
  async () => {
    const client = grpcClient(service.url);
    for (const [userId, own] of busiest(entries, 20)) {
      for (const timeZone of timeZones) {
        for (const { granularity, from, to } of ranges(own)) {
          const question = { timeZone, granularity, from, to };
          const answer = await askService(client, userId, question);
          expect(answer, `${userId}, ${timeZone}, granularity ${granularity}`).toEqual(
            withAverages(summarize(own, question)),
          );
        }
      }
    }
  },
);

test.runIf(file)(
  "the 20 busiest learners of a real log get the summaries of DATE_TRUNC with days from 04:00 and weeks from Sunday",
  { timeout: 900_000 },
  async () => {
    const client = grpcClient(service.url);
    for (const [userId, own] of busiest(entries, 20)) {
      for (const timeZone of timeZones) {
        for (const { granularity, from, to } of ranges(own)) {
          // Hours are not shifted.
          const unit = units.get(granularity);
          if (unit === undefined) continue;
          const shifts = { dayStart: 240, weekStart: Weekday.SUNDAY };
          const question = { timeZone, granularity, from, to, ...shifts, omitEmptyPeriods: true };
          const answer = await askService(client, userId, question);
          expect(answer, `${userId}, ${timeZone}, ${unit.name}`).toEqual(
            await truncate(userId, timeZone, unit),
          );
          expect(withAverages(summarize(own, question))).toEqual(answer);
        }
      }
    }
  },
);

/** The name of each unit for DATE_TRUNC, and how much later than those of DATE_TRUNC its periods begin. */
const units = new Map([
  [Granularity.DAY, { name: "day", shift: "4 hours" }],
  // Sunday is six days after Monday.
  [Granularity.WEEK, { name: "week", shift: "6 days 4 hours" }],
  [Granularity.MONTH, { name: "month", shift: "4 hours" }],
  [Granularity.QUARTER, { name: "quarter", shift: "4 hours" }],
  [Granularity.YEAR, { name: "year", shift: "4 hours" }],
]);

/** Adds up the log of a learner per period. Since 2012, no clock of `timeZones` has skipped or repeated 04:00. */
async function truncate(
  userId: string,
  timeZone: string,
  unit: { name: string; shift: string },
): Promise<AnsweredPeriod[]> {
  const { rows } = await service.database.pool.query<{ period: string; total: string; count: string }>(
    `SELECT extract(epoch FROM label AT TIME ZONE $2)::bigint AS period, sum(word_count) AS total, count(*) AS count
    FROM learning_log
    CROSS JOIN LATERAL (
      SELECT date_trunc($3, timestamp AT TIME ZONE $2 - $4::interval) + $4::interval AS label
    ) AS truncated
    WHERE user_id = $1
    GROUP BY label
    ORDER BY label`,
    [userId, timeZone, unit.name, unit.shift],
  );
  return withAverages(
    rows.map(({ period, total, count }) => ({
      period: Temporal.Instant.fromEpochMilliseconds(Number(period) * 1000).toString(),
      total: BigInt(total),
      count: BigInt(count),
    })),
  );
}

async function readLog(path: string): Promise<EntryPayload[]> {
  const [, ...lines] = gunzipSync(await readFile(path))
    .toString("utf8")
    .trim()
    .split("\n");
  return lines.map((line) => {
    const [requestId = "", userId = "", wordCount, timestamp = ""] = line.trim().split(",");
    return { requestId, userId, wordCount: Number(wordCount), timestamp: micros(timestamp) };
  });
}

function busiest(entries: readonly EntryPayload[], howMany: number): [string, EntryPayload[]][] {
  const learners = [...Map.groupBy(entries, ({ userId }) => userId)];
  return learners.sort(([, own], [, others]) => others.length - own.length).slice(0, howMany);
}

/** Ranges from a learner's first entry to the last; for hours, at most the first hundred days. */
function ranges(entries: readonly EntryPayload[]) {
  const times = entries.map(({ timestamp }) => timestamp).sort((a, b) => (a < b ? -1 : 1));
  const [from = 0n, to = 0n] = [times.at(0), times.at(-1)];
  const { HOUR, DAY, WEEK, MONTH, QUARTER, YEAR } = Granularity;
  return [
    ...[DAY, WEEK, MONTH, QUARTER, YEAR].map((granularity) => ({ granularity, from, to })),
    { granularity: HOUR, from, to: to < from + 100n * day ? to : from + 100n * day },
  ];
}
