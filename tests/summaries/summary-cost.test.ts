import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { isLarge } from "../../src/summaries/summary-cost.ts";
import { summaryRequest } from "../../src/summaries/summary-request.ts";
import { micros } from "../support/micros.ts";
import { summaryRequestOf } from "./ask.ts";

const { HOUR, DAY, MONTH, YEAR } = Granularity;
type Options = { omitEmptyPeriods?: boolean; movingAverageWindow?: number; pageSize?: number };

function isLargeSummary(granularity: Granularity, from: string, to: string, options: Options = {}): boolean {
  const question = { granularity, timeZone: "Australia/Lord_Howe", from: micros(from), to: micros(to) };
  const request = { ...summaryRequestOf("someone", question), ...options };
  return isLarge(summaryRequest(create(GetSummaryRequestSchema, request)));
}

test.for([
  ["a week of hours", HOUR, "2026-03-01T00:00Z", "2026-03-07T00:00Z", {}],
  ["three months of hours", HOUR, "2026-01-01T00:00Z", "2026-03-31T00:00Z", {}],
  ["a year of days", DAY, "2026-01-01T00:00Z", "2026-12-31T00:00Z", {}],
  [
    "a year of days with a moving average",
    DAY,
    "2026-01-01T00:00Z",
    "2026-12-31T00:00Z",
    { movingAverageWindow: 366 },
  ],
  ["five years of days", DAY, "2022-01-01T00:00Z", "2026-12-31T00:00Z", {}],
  ["ten years of months", MONTH, "2017-01-01T00:00Z", "2026-12-31T00:00Z", {}],
  ["a small page of a century of hours", HOUR, "1970-01-01T00:00Z", "2080-12-31T00:00Z", { pageSize: 100 }],
] as const)("a summary of %s is small", ([, granularity, from, to, options]) => {
  expect(isLargeSummary(granularity, from, to, options)).toBe(false);
});

test.for([
  ["a year of hours", HOUR, "2026-01-01T00:00Z", "2026-12-31T00:00Z", {}],
  ["25 years of days", DAY, "2002-01-01T00:00Z", "2026-12-31T00:00Z", {}],
  ["a century of years", YEAR, "1970-01-01T00:00Z", "2070-12-31T00:00Z", {}],
  ["a page of a century of hours", HOUR, "1970-01-01T00:00Z", "2080-12-31T00:00Z", {}],
  [
    "a small page of the days with entries among a million",
    DAY,
    "1970-01-01T00:00Z",
    "4700-01-01T00:00Z",
    { omitEmptyPeriods: true, pageSize: 1 },
  ],
] as const)("a summary of %s is large", ([, granularity, from, to, options]) => {
  expect(isLargeSummary(granularity, from, to, options)).toBe(true);
});
