import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { parseTimestamp } from "../../../src/commands/import/parse-timestamp.ts";

test.for([
  ["2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"],
  ["2024-01-02T03:04:05.678+02:00", "2024-01-02T01:04:05.678Z"],
  ["2024-01-02t03:04:05z", "2024-01-02T03:04:05Z"],
  ["2024-02-29T23:59:59-23:59", "2024-03-01T23:58:59Z"],
  // PostgreSQL
  ["2024-01-02 03:04:05+02", "2024-01-02T01:04:05Z"],
  ["2024-01-02 03:04:05.5-03:30", "2024-01-02T06:34:05.500Z"],
  ["1971-06-01 00:00:00-00:44:30", "1971-06-01T00:44:30Z"],
  // Python: str(datetime), isoformat with other timespecs, strftime("%z")
  ["2024-01-02 03:04:05+02:00", "2024-01-02T01:04:05Z"],
  ["2024-01-02T03:04Z", "2024-01-02T03:04:00Z"],
  ["2024-01-02T03+00:00", "2024-01-02T03:00:00Z"],
  ["2024-01-02T03:04:05+0200", "2024-01-02T01:04:05Z"],
  ["2024-01-02T03:04:05.000-0330", "2024-01-02T06:34:05Z"],
] as const)("%s is accepted", ([text, expected]) => {
  const { seconds, nanos } = timestampFromMs(Date.parse(expected));
  expect(parseTimestamp(text)).toEqual({ timestamp: { seconds, nanos }, exceedsMicroseconds: false });
});

test.for([
  ["2024-01-02T03:04:05.123456Z", 123_456_000, false],
  ["2024-01-02T03:04:05.123456000Z", 123_456_000, false],
  ["2024-01-02T03:04:05.123456001Z", 123_456_001, true],
  ["2024-01-02T03:04:05.1234567+00", 123_456_700, true],
] as const)("%s is reported if it is finer than microseconds", ([text, nanos, exceedsMicroseconds]) => {
  expect(parseTimestamp(text)).toMatchObject({ timestamp: { nanos }, exceedsMicroseconds });
});

test.for(["2024-01-02T03:04:05", "2024-01-02 03:04:05.123456", "2024-01-02T03:04"] as const)(
  "%s is rejected, because it has no time zone",
  (text) => {
    expect(() => parseTimestamp(text)).toThrow(new RangeError(`timestamp ${text} has no time zone`));
  },
);

test.for([
  "2024-02-30T12:00:00Z",
  "2023-02-29T12:00:00Z",
  "2024-13-01T12:00:00Z",
  "2024-00-01T12:00:00Z",
  "2024-01-02T24:00:00Z",
  "2024-01-02 24:00:00+02",
  "2024-01-02T03:60:00Z",
  "2024-01-02T03:04:60Z",
  "2024-06-30T23:59:60Z",
  "2024-01-02T03:04:05+24:00",
  "2024-01-02T03:04:05+02:60",
  "2024-01-02T03:04:05,5Z",
  "2024-01-02T03:04:05.Z",
  "2024-01-02T03:04:05.1234567890Z",
  "2024-01-02T03:04:05Z[Europe/Berlin]",
  "2024-01-02T03:04:05 UTC",
  "2024-01-02",
  "2024-01-02Z",
  "20240102T030405Z",
  "+002024-01-02T03:04:05Z",
  "02.01.2024 03:04:05+02",
  "1704164645",
  "infinity",
  "yesterday",
] as const)("%s is rejected as invalid", (text) => {
  const reason = `timestamp ${text} is not a valid time such as 2024-02-29T12:00:00+01:00`;
  expect(() => parseTimestamp(text)).toThrow(new RangeError(reason));
});
