import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, test } from "vitest";
import { ViolationsSchema } from "#gen/buf/validate/validate_pb.js";
import { type GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { useTestService } from "../support/test-service.ts";

const service = useTestService();

type Request = Exclude<MessageInitShape<typeof GetSummaryRequestSchema>, { $typeName: string }>;

const at = (text: string) => timestampFromDate(new Date(text));
const noon = at("2024-02-29T12:00:00Z");
const good: Request = { userId: randomUUID(), from: noon, to: noon, granularity: Granularity.HOUR };

/** The code, and the fields that the error's detail names; `undefined` if the call succeeds. */
async function refusal(request: Request) {
  try {
    await grpcClient(service.url).getSummary(request);
    return undefined;
  } catch (reason) {
    const error = ConnectError.from(reason);
    const violations = error.findDetails(ViolationsSchema).flatMap((detail) => detail.violations);
    return {
      code: error.code,
      fields: violations.map(({ field }) => field?.elements.map(({ fieldName }) => fieldName).join(".")),
      messages: violations.map(({ message }) => message),
    };
  }
}

const refused = (...fields: string[]) => ({ code: Code.InvalidArgument, fields });

describe("time_zone", () => {
  test.for([
    ["a place that has none", "Mars/Olympus_Mons"],
    ["a rule that PostgreSQL would read backwards", "UTC+3"],
    ["an offset", "+03:00"],
    ["an abbreviation", "PST"],
    ["an abbreviation that means Dhaka to Intl and London to PostgreSQL", "BST"],
    ["an abbreviation in small letters", "pst"],
    ["a zone that the IANA database gave up", "SystemV/PST8PDT"],
    ["a file of the database's host", "localtime"],
    ["a folder of the database's host", "posix/Europe/Berlin"],
    ["a name with a blank", "Europe/Berlin "],
    ["a name with a NUL", "Europe/Berlin\0"],
    ["SQL", "UTC'; --"],
    ["a long text", "Z".repeat(65)],
  ] as const)("%s is refused: %j", async ([, timeZone]) => {
    expect(await refusal({ ...good, timeZone })).toMatchObject(refused("time_zone"));
  });
});

describe("from and to", () => {
  test.for(["from", "to"] as const)("%s must be there", async (name) => {
    const { [name]: _, ...request } = good;
    expect(await refusal(request)).toMatchObject(refused(name));
  });

  test("`from` after `to` is refused", async () => {
    const later = { ...noon, nanos: 1000 };
    const answer = await refusal({ ...good, from: later, to: noon });
    expect(answer).toMatchObject({
      code: Code.InvalidArgument,
      fields: ["from"],
      messages: ["must not be after to"],
    });
    expect(await refusal({ ...good, from: noon, to: later })).toBeUndefined();
  });

  test("what lies before 1970 or after 9998 is refused", async () => {
    expect(await refusal({ ...good, from: { seconds: -1n, nanos: 0 } })).toMatchObject(refused("from"));
    expect(
      await refusal({ ...good, to: at("9999-01-01T00:00:00Z"), granularity: Granularity.YEAR }),
    ).toMatchObject(refused("to"));
  });

  test.for([-1, 1_000_000_000, -2_147_483_648, 2_147_483_647])("%i nanos are refused", async (nanos) => {
    // Room enough that `from` is before `to`, whatever the nanos are taken for.
    const second = 1_700_000_000n;
    expect(await refusal({ ...good, from: { seconds: second - 10n, nanos }, to: noon })).toMatchObject(
      refused("from"),
    );
    expect(
      await refusal({ ...good, from: at("2023-01-01T00:00:00Z"), to: { seconds: second, nanos } }),
    ).toMatchObject(refused("to"));
  });
});

describe("granularity", () => {
  test.for([
    ["none", Granularity.UNSPECIFIED],
    ["one of tomorrow", 7 as Granularity],
    ["a negative one", -1 as Granularity],
  ] as const)("%s is refused", async ([, granularity]) => {
    expect(await refusal({ ...good, granularity })).toMatchObject(refused("granularity"));
  });

  test.for([
    ["hours", Granularity.HOUR, { hours: 9_999 }],
    ["days", Granularity.DAY, { days: 9_999 }],
    ["weeks", Granularity.WEEK, { weeks: 9_999 }],
    ["months", Granularity.MONTH, { months: 9_999 }],
    ["quarters", Granularity.QUARTER, { months: 3 * 9_999 }],
  ] as const)("10,000 %s fit into one answer, more have a next page", async ([, granularity, length]) => {
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

  test("1,000,000 periods can be gone through, more are refused", async () => {
    const from = at("1970-01-01T00:00:00Z");
    const request = { ...good, granularity: Granularity.HOUR, from, pageSize: 1 };
    const { periods } = await grpcClient(service.url).getSummary({
      ...request,
      to: at("2084-01-29T15:00:00Z"),
    });
    expect(periods).toHaveLength(1);
    expect(await refusal({ ...request, to: at("2084-02-01T00:00:00Z") })).toMatchObject(refused("to"));
  });
});

describe("user_id", () => {
  test.for([
    ["none", ""],
    ["a NUL", "learner\0"],
    ["129 characters", "x".repeat(129)],
  ] as const)("%s is refused", async ([, userId]) => {
    expect(await refusal({ ...good, userId })).toMatchObject(refused("user_id"));
  });

  test.for([
    ["128 letters", "x".repeat(128)],
    ["128 characters that take two UTF-16 units each", "\u{1F4D6}".repeat(128)],
    ["a quote, a percent sign and a backslash", "o'learner%\\"],
  ] as const)("%s are taken", async ([, userId]) => {
    expect(await refusal({ ...good, userId })).toBeUndefined();
  });

  test("half of a surrogate pair is refused", async () => {
    // JSON can carry it, no UTF-8 can: the decoder refuses it, with no detail but a message that names the field.
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
