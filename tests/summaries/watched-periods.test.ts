import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { type PeriodSummary, PeriodSummarySchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { WatchedPeriods } from "../../src/summaries/watched-periods.ts";

/** A day of 2024, with this number of entries of one word each. */
function day(index: number, entries: number): PeriodSummary {
  return create(PeriodSummarySchema, {
    period: { seconds: 1_704_067_200n + BigInt(index) * 86_400n },
    averageWordsLearned: Math.min(entries, 1),
    totalWordCount: BigInt(entries),
    entryCount: BigInt(entries),
  });
}

test("if empty periods are omitted, only a receiver with an earlier version gets a period that became empty", () => {
  const periods = new WatchedPeriods(true);
  periods.put([day(0, 0), day(1, 0)]);
  const seen = periods.version;
  periods.put([day(0, 1)]);
  periods.put([day(0, 0)]);
  expect(periods.since(seen).periods).toEqual([day(0, 0)]);
  expect(periods.whole().periods).toEqual([]);
});

test("a receiver gets the latest state of each period that has changed since its version", () => {
  const periods = new WatchedPeriods(false);
  periods.put([day(0, 0), day(1, 0), day(2, 0)]);
  const seen = periods.version;
  periods.put([day(2, 1)]);
  periods.put([day(1, 1), day(2, 2)]);
  expect(periods.since(seen).periods).toEqual([day(1, 1), day(2, 2)]);
  expect(periods.whole().periods).toEqual([day(0, 0), day(1, 1), day(2, 2)]);
});
