import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { ViolationsSchema } from "#gen/buf/validate/validate_pb.js";
import { type GetSummaryRequestSchema, Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();

type Request = Exclude<MessageInitShape<typeof GetSummaryRequestSchema>, { $typeName: string }>;

const at = (text: string) => timestampFromDate(new Date(text));
const noon = at("2024-02-29T12:00:00Z");
const good: Request = { userId: randomUUID(), from: noon, to: noon, granularity: Granularity.HOUR };

/** Returns the code and the violations of the error; undefined if the call succeeds. */
async function rejectionOf(request: Request) {
  try {
    await grpcClient(service.url).getSummary(request);
    return undefined;
  } catch (reason) {
    const error = ConnectError.from(reason);
    const violations = error.findDetails(ViolationsSchema).flatMap((detail) => detail.violations);
    return {
      code: error.code,
      fields: violations.map(({ field }) => field?.elements.map(({ fieldName }) => fieldName).join(".")),
      rules: violations.map(({ ruleId }) => ruleId),
      messages: violations.map(({ message }) => message),
    };
  }
}

const rejected = (...fields: string[]) => ({ code: Code.InvalidArgument, fields });

describe("time_zone", () => {
  test.for([
    ["an unknown name", "Mars/Olympus_Mons"],
    ["a POSIX rule, whose sign has the opposite meaning", "UTC+3"],
    ["an offset", "+03:00"],
    ["an abbreviation", "PST"],
    ["an abbreviation that means Dhaka to Intl and London to PostgreSQL", "BST"],
    ["an abbreviation in lower case", "pst"],
    ["a zone that the IANA database has removed", "SystemV/PST8PDT"],
    ["a file of the database's host", "localtime"],
    ["a folder of the database's host", "posix/Europe/Berlin"],
    ["a name with a trailing space", "Europe/Berlin "],
    ["a name with a NUL", "Europe/Berlin\0"],
    ["SQL", "UTC'; --"],
    ["a name of 65 characters", "Z".repeat(65)],
  ] as const)("%s is rejected: %j", async ([, timeZone]) => {
    expect(await rejectionOf({ ...good, timeZone })).toMatchObject(rejected("time_zone"));
  });
});

describe("from and to", () => {
  test.for(["from", "to"] as const)("a request without `%s` is rejected", async (name) => {
    const { [name]: _, ...request } = good;
    expect(await rejectionOf(request)).toMatchObject(rejected(name));
  });

  test("`from` after `to` is rejected", async () => {
    const later = { ...noon, nanos: 1000 };
    const answer = await rejectionOf({ ...good, from: later, to: noon });
    expect(answer).toMatchObject({
      code: Code.InvalidArgument,
      fields: ["from"],
      messages: ["must not be after to"],
    });
    expect(await rejectionOf({ ...good, from: noon, to: later })).toBeUndefined();
  });

  test("a time before 1970 or after 9998 is rejected", async () => {
    expect(await rejectionOf({ ...good, from: { seconds: -1n, nanos: 0 } })).toMatchObject(rejected("from"));
    expect(
      await rejectionOf({ ...good, to: at("9999-01-01T00:00:00Z"), granularity: Granularity.YEAR }),
    ).toMatchObject(rejected("to"));
  });

  test.for([-1, 1_000_000_000, -2_147_483_648, 2_147_483_647])("%i nanos are rejected", async (nanos) => {
    // `from` is so long before `to` that no interpretation of the nanos changes their order.
    const second = 1_700_000_000n;
    expect(await rejectionOf({ ...good, from: { seconds: second - 10n, nanos }, to: noon })).toMatchObject(
      rejected("from"),
    );
    expect(
      await rejectionOf({ ...good, from: at("2023-01-01T00:00:00Z"), to: { seconds: second, nanos } }),
    ).toMatchObject(rejected("to"));
  });
});

describe("granularity", () => {
  test.for([
    ["an unspecified value", Granularity.UNSPECIFIED],
    ["a value of a later version", 7 as Granularity],
    ["a negative value", -1 as Granularity],
  ] as const)("%s is rejected", async ([, granularity]) => {
    expect(await rejectionOf({ ...good, granularity })).toMatchObject(rejected("granularity"));
  });

  test.for([
    ["hours", Granularity.HOUR, { hours: 9_999 }],
    ["days", Granularity.DAY, { days: 9_999 }],
    ["weeks", Granularity.WEEK, { weeks: 9_999 }],
    ["months", Granularity.MONTH, { months: 9_999 }],
    ["quarters", Granularity.QUARTER, { months: 3 * 9_999 }],
  ] as const)("10,000 %s fit into one page, and more have a next page", async ([, granularity, length]) => {
    const first = Temporal.PlainDateTime.from("2024-01-01T12:00");
    const last = first.add(length);
    const request = { ...good, granularity, from: at(`${first}Z`), to: at(`${last}Z`) };
    const client = grpcClient(service.url);
    const whole = await client.getSummary(request);
    expect(whole.periods).toHaveLength(10_000);
    expect(whole.nextPageToken).toBe("");
    const cut = await client.getSummary({ ...request, to: at(`${last.add({ months: 9 })}Z`) });
    expect(cut.periods).toEqual(whole.periods);
    expect(cut.nextPageToken).not.toBe("");
  });

  test("a range of 1,000,000 periods is accepted, and a longer one is rejected", async () => {
    const from = at("1970-01-01T00:00:00Z");
    const request = { ...good, granularity: Granularity.HOUR, from, pageSize: 1 };
    const { periods } = await grpcClient(service.url).getSummary({
      ...request,
      to: at("2084-01-29T15:00:00Z"),
    });
    expect(periods).toHaveLength(1);
    expect(await rejectionOf({ ...request, to: at("2084-02-01T00:00:00Z") })).toMatchObject(rejected("to"));
  });
});

describe("day_start", () => {
  test.for([
    ["a negative value", -15, "int32.gte_lte"],
    ["the next midnight", 1440, "int32.gte_lte"],
    ["a value below a quarter of an hour", 7, "day_start.quarter_hour"],
    ["a minute after 04:00", 241, "day_start.quarter_hour"],
    ["the last minute of the day", 1439, "day_start.quarter_hour"],
  ] as const)("%s is rejected: %i", async ([, dayStart, rule]) => {
    expect(await rejectionOf({ ...good, granularity: Granularity.DAY, dayStart })).toMatchObject({
      ...rejected("day_start"),
      rules: [rule],
    });
  });

  test.for([0, 15, 240, 1425])("%i is accepted", async (dayStart) => {
    expect(await rejectionOf({ ...good, granularity: Granularity.DAY, dayStart })).toBeUndefined();
  });

  test("a value that is invalid for days is also rejected for hours, which do not depend on it", async () => {
    expect(await rejectionOf({ ...good, dayStart: 7 })).toMatchObject(rejected("day_start"));
  });
});

describe("week_start", () => {
  test.for([
    ["a value of a later version", 8 as Weekday],
    ["a negative value", -1 as Weekday],
  ] as const)("%s is rejected", async ([, weekStart]) => {
    expect(await rejectionOf({ ...good, granularity: Granularity.WEEK, weekStart })).toMatchObject({
      ...rejected("week_start"),
      rules: ["enum.defined_only"],
    });
  });

  test.for([
    ["an unspecified value", Weekday.UNSPECIFIED],
    ["Monday", Weekday.MONDAY],
    ["Sunday", Weekday.SUNDAY],
  ] as const)("%s is accepted", async ([, weekStart]) => {
    expect(await rejectionOf({ ...good, granularity: Granularity.WEEK, weekStart })).toBeUndefined();
  });
});

describe("user_id", () => {
  test.for([
    ["an empty value", ""],
    ["a value with a NUL", "learner\0"],
    ["a value of 129 characters", "x".repeat(129)],
  ] as const)("%s is rejected", async ([, userId]) => {
    expect(await rejectionOf({ ...good, userId })).toMatchObject(rejected("user_id"));
  });

  test.for([
    ["a value of 128 letters", "x".repeat(128)],
    ["a value of 128 characters of two UTF-16 units each", "\u{1F4D6}".repeat(128)],
    ["a value with a quote, a percent sign and a backslash", "o'learner%\\"],
  ] as const)("%s is accepted", async ([, userId]) => {
    expect(await rejectionOf({ ...good, userId })).toBeUndefined();
  });

  test("a value with half of a surrogate pair is rejected", async () => {
    // JSON can contain it, but UTF-8 cannot. The decoder's error has no details, but its message names the field.
    const response = await fetch(`${service.url}/dailyaggregator.v1.LearningLogService/GetSummary`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ userId: "learner\uD83D" }),
    });
    expect(await response.json()).toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("user_id"),
    });
  });
});
