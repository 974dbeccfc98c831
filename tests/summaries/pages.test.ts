import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { nextPageToken, summaryRequest } from "../../src/summaries/summary-request.ts";
import { grpcClient } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";
import { askForPages, askService, summaryRequestOf } from "./ask.ts";
import { summarize } from "./oracle.ts";

const service = useTestService();
const client = () => grpcClient(service.url);

const days = (timeZone: string, from: string, to: string) => ({
  timeZone,
  granularity: Granularity.DAY,
  from: micros(from),
  to: micros(to),
});

const februaryDays = days("UTC", "2024-02-10T12:00Z", "2024-02-20T12:00Z");

describe.for([
  ["Apia's skipped day", days("Pacific/Apia", "2011-12-28T12:00-10:00", "2012-01-02T12:00+14:00")],
  [
    "St. John's return to the previous day",
    days("America/St_Johns", "2010-11-07T00:00:30-02:30", "2010-11-06T23:30-03:30"),
  ],
  [
    "Apia's day of 4 hours before 04:00",
    { ...days("Pacific/Apia", "2011-12-28T12:00-10:00", "2012-01-02T12:00+14:00"), dayStart: 240 },
  ],
  [
    "Berlin's return to the day before 02:30",
    { ...days("Europe/Berlin", "2024-10-27T02:59+02:00", "2024-10-27T02:00+01:00"), dayStart: 150 },
  ],
  [
    "Berlin's weeks from Sunday at 04:00",
    {
      ...days("Europe/Berlin", "2024-03-10T03:59+01:00", "2024-04-07T04:00+02:00"),
      granularity: Granularity.WEEK,
      dayStart: 240,
      weekStart: Weekday.SUNDAY,
    },
  ],
  ["Havana's two midnights", days("America/Havana", "2026-10-29T12:00-04:00", "2026-11-03T12:00-05:00")],
  [
    "Lord Howe's hour of 30 minutes",
    {
      timeZone: "Australia/Lord_Howe",
      granularity: Granularity.HOUR,
      from: micros("2026-04-04T13:00Z"),
      to: micros("2026-04-04T18:00Z"),
    },
  ],
] as const)("a range with %s", ([, question]) => {
  test.for([1, 2, 3, 4, 5])("has the same periods in pages of %i as in one page", async (pageSize) => {
    const names = summarize([], question).map(({ period }) => period);
    const userId = await recordLearner(
      service.database.connections,
      names.map((name, index) => ({ timestamp: micros(name), wordCount: 2 ** index })),
    );
    for (const movingAverageWindow of [0, 3]) {
      const asked = { ...question, movingAverageWindow };
      const pages = await askForPages(client(), userId, asked, pageSize);
      expect(pages.flat()).toEqual(await askService(client(), userId, asked));
      expect(pages.map(({ length }) => length)).toEqual(
        names
          .map((_, index) => Math.min(pageSize, names.length - index))
          .filter((_, index) => index % pageSize === 0),
      );
    }
  });
});

test("no page is empty, even if the rest of the range has no entries", async () => {
  const userId = await recordLearner(service.database.connections, [
    { timestamp: micros("2024-02-12T12:00Z"), wordCount: 1 },
    { timestamp: micros("2024-02-15T12:00Z"), wordCount: 2 },
  ]);
  const pages = await askForPages(client(), userId, { ...februaryDays, omitEmptyPeriods: true }, 1);
  expect(pages).toMatchObject([
    [{ period: "2024-02-12T00:00:00Z", total: 1n }],
    [{ period: "2024-02-15T00:00:00Z", total: 2n }],
  ]);
});

test("a page_size of 0 or of more than 10,000 counts as 10,000", async () => {
  const request = summaryRequestOf(randomUUID(), {
    ...februaryDays,
    granularity: Granularity.HOUR,
    to: februaryDays.from + 10_000n * 3_600_000_000n,
  });
  for (const pageSize of [0, 10_000, 10_001, 2_147_483_647]) {
    const { periods, nextPageToken } = await client().getSummary({ ...request, pageSize });
    expect(periods).toHaveLength(10_000);
    expect(nextPageToken).not.toBe("");
  }
});

test("a page may have another size than the previous page", async () => {
  const request = summaryRequestOf(randomUUID(), februaryDays);
  const whole = await client().getSummary(request);
  const first = await client().getSummary({ ...request, pageSize: 3 });
  const rest = await client().getSummary({ ...request, pageSize: 100, pageToken: first.nextPageToken });
  expect([...first.periods, ...rest.periods]).toEqual(whole.periods);
  expect(rest.nextPageToken).toBe("");
});

describe("page_token", () => {
  const userId = randomUUID();
  const request = { ...summaryRequestOf(userId, februaryDays), pageSize: 2 };

  async function expectRejected(changed: Partial<typeof request> & { pageToken: string }): Promise<void> {
    const error = await failureOf(client().getSummary({ ...request, ...changed }));
    expect({ code: error.code, fields: violatedFields(error) }).toEqual({
      code: Code.InvalidArgument,
      fields: ["page_token"],
    });
  }

  test("a damaged token is rejected", async () => {
    const { nextPageToken } = await client().getSummary(request);
    const middle = nextPageToken.length / 2;
    for (const pageToken of [
      "x",
      nextPageToken.slice(0, -1),
      `${nextPageToken}A`,
      nextPageToken + nextPageToken,
      nextPageToken.slice(0, middle) + nextPageToken.slice(middle + 1),
      nextPageToken.toLowerCase(),
    ]) {
      await expectRejected({ pageToken });
    }
  });

  test("a token is rejected if any other field of the request has changed", async () => {
    const { nextPageToken: pageToken } = await client().getSummary(request);
    for (const other of [
      { userId: randomUUID() },
      { from: { ...request.from, nanos: 1000 } },
      { to: { ...request.to, nanos: 1000 } },
      { granularity: Granularity.WEEK },
      { timeZone: "Europe/Berlin" },
      { omitEmptyPeriods: true },
      { movingAverageWindow: 7 },
      { dayStart: 240 },
    ]) {
      await expectRejected({ ...other, pageToken });
    }
  });

  test("a token for weeks is rejected if week_start has changed", async () => {
    const weeks = { granularity: Granularity.WEEK, from: { ...request.from, seconds: 1_704_067_200n } };
    const { nextPageToken: pageToken } = await client().getSummary({ ...request, ...weeks });
    expect(pageToken).not.toBe("");
    await expectRejected({ ...weeks, weekStart: Weekday.SUNDAY, pageToken });
  });

  test.for([
    ["after `to`", { granularity: Granularity.DAY, seconds: 1_709_208_000n }],
    ["at the end of 9998", { granularity: Granularity.DAY, seconds: 253_370_764_799n }],
    ["long before `from`", { granularity: Granularity.DAY, seconds: 0n }],
    ["an hour before `from`", { granularity: Granularity.HOUR, seconds: 1_707_562_800n }],
  ] as const)("a forged token for a page %s is rejected", async ([, { granularity, seconds }]) => {
    const asked = { ...request, granularity };
    const message = create(GetSummaryRequestSchema, asked);
    await expectRejected({ granularity, pageToken: nextPageToken(summaryRequest(message), seconds) });
  });

  test("a token of ListEntries is rejected", async () => {
    const learner = await recordLearner(service.database.connections, [
      { timestamp: februaryDays.from, wordCount: 1 },
      { timestamp: februaryDays.to, wordCount: 1 },
    ]);
    const { nextPageToken } = await client().listEntries({ userId: learner, pageSize: 1 });
    expect(nextPageToken).not.toBe("");
    await expectRejected({ userId: learner, pageToken: nextPageToken });
  });

  test("a token is valid for its request, even if a page of another request begins at the same instant", async () => {
    const first = await client().getSummary(request);
    const second = await client().getSummary({ ...request, pageToken: first.nextPageToken });
    const other = { ...request, from: second.periods[0]?.period ?? request.from };
    const { nextPageToken: pageToken } = await client().getSummary(other);
    expect((await client().getSummary({ ...other, pageToken })).periods).toHaveLength(2);
  });

  test("a token is valid for the same request written in another way", async () => {
    const { nextPageToken: pageToken } = await client().getSummary(request);
    const second = await client().getSummary({ ...request, pageToken });
    for (const other of [
      { timeZone: "" },
      { timeZone: "utc" },
      { from: { ...request.from, nanos: 999 } },
      { weekStart: Weekday.MONDAY },
      // Days do not depend on it.
      { weekStart: Weekday.SUNDAY },
    ]) {
      expect(await client().getSummary({ ...request, ...other, pageToken })).toEqual(second);
    }
  });
});
