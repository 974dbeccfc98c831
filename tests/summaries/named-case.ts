import { expect, test } from "vitest";
import type { Granularity, Weekday } from "#gen/dailyaggregator/v1/summary_pb.js";
import { grpcClient } from "../support/clients.ts";
import { micros } from "../support/micros.ts";
import { recordLearner } from "../support/record-entries.ts";
import type { TestService } from "../support/test-service.ts";
import { askService, withAverages } from "./ask.ts";
import { summarize } from "./oracle.ts";

/** A summary whose expected periods are written by hand. */
export interface NamedCase {
  /** The title of the test: what a learner or a developer notices. */
  readonly title: string;
  readonly timeZone: string;
  readonly granularity: Granularity;
  /** In minutes after local midnight. */
  readonly dayStart?: number;
  readonly weekStart?: Weekday;
  /** An instant with its offset, such as 2024-03-31T00:00+02:00. */
  readonly from: string;
  readonly to: string;
  /** Timestamps and word counts. The counts are powers of two, so that a sum shows which entries it contains. */
  readonly entries: readonly (readonly [string, number])[];
  /** The first instant, the sum of the words and the number of entries of each period. */
  readonly periods: readonly (readonly [string, number, number])[];
}

/** Tests the service. Also tests the oracle, because other tests compare the service with it. */
export function testNamedCases(service: TestService, cases: readonly NamedCase[]): void {
  for (const { title, entries: namedEntries, periods: namedPeriods, ...named } of cases) {
    const entries = namedEntries.map(([time, wordCount]) => ({ timestamp: micros(time), wordCount }));
    const question = { ...named, from: micros(named.from), to: micros(named.to) };
    const periods = namedPeriods.map(([period, total, count]) => ({
      period: Temporal.Instant.from(period).toString(),
      total: BigInt(total),
      count: BigInt(count),
    }));
    // Not test.for, because it truncates titles.
    test(title, async () => {
      expect(summarize(entries, question)).toEqual(periods);
      const userId = await recordLearner(service.database.connections, entries);
      expect(await askService(grpcClient(service.url), userId, question)).toEqual(withAverages(periods));
    });
  }
}
