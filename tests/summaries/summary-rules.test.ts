import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";
import { askService } from "./ask.ts";
import type { OracleEntry } from "./oracle.ts";

const service = useTestService();
const client = () => grpcClient(service.url);
const record = (...entries: OracleEntry[]) => recordLearner(service.database.connections, entries);

const threeDays = {
  from: micros("2024-02-28T12:00Z"),
  to: micros("2024-03-01T12:00Z"),
  granularity: Granularity.DAY,
  timeZone: "UTC",
};

test("if `from` equals `to`, the answer is the whole period that contains it", async () => {
  const userId = await record(
    { timestamp: micros("2024-02-29T00:00Z"), wordCount: 1 },
    { timestamp: micros("2024-02-29T23:59:59.999999Z"), wordCount: 2 },
    { timestamp: micros("2024-03-01T00:00Z"), wordCount: 4 },
  );
  const noon = micros("2024-02-29T12:00Z");
  expect(await askService(client(), userId, { ...threeDays, from: noon, to: noon })).toEqual([
    { period: "2024-02-29T00:00:00Z", total: 3n, count: 2n, average: 1.5 },
  ]);
});

test("an entry before `from` or after `to` counts if its period is in the list", async () => {
  const userId = await record(
    { timestamp: micros("2024-02-27T23:59:59.999999Z"), wordCount: 1 },
    { timestamp: micros("2024-02-28T00:00Z"), wordCount: 2 },
    { timestamp: micros("2024-03-01T23:59:59.999999Z"), wordCount: 4 },
    { timestamp: micros("2024-03-02T00:00Z"), wordCount: 8 },
  );
  expect(await askService(client(), userId, threeDays)).toMatchObject([
    { period: "2024-02-28T00:00:00Z", total: 2n },
    { period: "2024-02-29T00:00:00Z", total: 0n },
    { period: "2024-03-01T00:00:00Z", total: 4n },
  ]);
});

test("a learner without entries gets empty periods", async () => {
  const empty = { total: 0n, count: 0n, average: 0 };
  expect(await askService(client(), randomUUID(), threeDays)).toEqual([
    { period: "2024-02-28T00:00:00Z", ...empty },
    { period: "2024-02-29T00:00:00Z", ...empty },
    { period: "2024-03-01T00:00:00Z", ...empty },
  ]);
});

test("omit_empty_periods omits periods without entries, but not periods whose entries have 0 words", async () => {
  const userId = await record(
    { timestamp: micros("2024-02-28T12:00Z"), wordCount: 0 },
    { timestamp: micros("2024-03-01T12:00Z"), wordCount: 7 },
  );
  expect(await askService(client(), userId, { ...threeDays, omitEmptyPeriods: true })).toEqual([
    { period: "2024-02-28T00:00:00Z", total: 0n, count: 1n, average: 0 },
    { period: "2024-03-01T00:00:00Z", total: 7n, count: 1n, average: 7 },
  ]);
  expect(await askService(client(), randomUUID(), { ...threeDays, omitEmptyPeriods: true })).toEqual([]);
});

test("omit_empty_periods and moving averages follow day_start, also before `from`", async () => {
  const userId = await record(
    { timestamp: micros("2024-02-28T03:59:59.999999Z"), wordCount: 8 },
    { timestamp: micros("2024-02-29T03:59:59.999999Z"), wordCount: 4 },
    { timestamp: micros("2024-03-02T03:59:59.999999Z"), wordCount: 2 },
  );
  const question = { ...threeDays, dayStart: 240, movingAverageWindow: 2 };
  const [first, empty, last] = [
    { period: "2024-02-28T04:00:00Z", total: 4n, count: 1n, average: 4, movingAverage: 6 },
    { period: "2024-02-29T04:00:00Z", total: 0n, count: 0n, average: 0, movingAverage: 2 },
    { period: "2024-03-01T04:00:00Z", total: 2n, count: 1n, average: 2, movingAverage: 1 },
  ];
  expect(await askService(client(), userId, question)).toEqual([first, empty, last]);
  expect(await askService(client(), userId, { ...question, omitEmptyPeriods: true })).toEqual([first, last]);
});

test("the moving average of a week covers the weeks from week_start and day_start", async () => {
  const userId = await record(
    { timestamp: micros("2024-02-18T03:59:59.999999Z"), wordCount: 1 },
    { timestamp: micros("2024-02-18T04:00Z"), wordCount: 2 },
    { timestamp: micros("2024-02-25T03:59:59.999999Z"), wordCount: 4 },
    { timestamp: micros("2024-02-25T04:00Z"), wordCount: 8 },
  );
  const question = {
    ...threeDays,
    granularity: Granularity.WEEK,
    dayStart: 240,
    weekStart: Weekday.SUNDAY,
    movingAverageWindow: 2,
  };
  expect(await askService(client(), userId, question)).toEqual([
    { period: "2024-02-25T04:00:00Z", total: 8n, count: 1n, average: 8, movingAverage: 7 },
  ]);
});

test.for([
  ["an hour", Granularity.HOUR],
  ["a day", Granularity.DAY],
  ["a year", Granularity.YEAR],
] as const)("the average of %s is not rounded", async ([, granularity]) => {
  const noon = micros("2024-02-29T12:00Z");
  const userId = await record(
    ...[1, 2, 2].map((wordCount, index) => ({ timestamp: noon + BigInt(index), wordCount })),
  );
  const question = { ...threeDays, granularity, from: noon, to: noon };
  expect(await askService(client(), userId, question)).toMatchObject([
    { total: 5n, count: 3n, average: 5 / 3 },
  ]);
});

test("a total can exceed 32 bits", async () => {
  const noon = micros("2024-02-29T12:00Z");
  const wordCount = 2_147_483_647;
  const userId = await record({ timestamp: noon, wordCount }, { timestamp: noon, wordCount });
  expect(await askService(client(), userId, { ...threeDays, from: noon, to: noon })).toMatchObject([
    { total: 4_294_967_294n, average: wordCount },
  ]);
});

test("another learner's entries do not count", async () => {
  await record({ timestamp: threeDays.from, wordCount: 1 });
  const userId = await record({ timestamp: threeDays.from, wordCount: 2 });
  expect(await askService(client(), userId, { ...threeDays, to: threeDays.from })).toMatchObject([
    { total: 2n },
  ]);
});

test("without a time zone, the periods are those of UTC", async () => {
  const userId = await record({ timestamp: threeDays.from, wordCount: 1 });
  expect(await askService(client(), userId, { ...threeDays, timeZone: "" })).toEqual(
    await askService(client(), userId, threeDays),
  );
});

test("the last microsecond of 9998 is valid", async () => {
  const last = micros("9998-12-31T23:59:59.999999Z");
  const question = { ...threeDays, from: last, to: last };
  for (const [granularity, period] of [
    [Granularity.HOUR, "9998-12-31T23:00:00Z"],
    [Granularity.DAY, "9998-12-31T00:00:00Z"],
    [Granularity.YEAR, "9998-01-01T00:00:00Z"],
  ] as const) {
    expect(await askService(client(), randomUUID(), { ...question, granularity })).toMatchObject([
      { period },
    ]);
  }
});
