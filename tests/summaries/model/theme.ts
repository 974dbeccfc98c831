import fc from "fast-check";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { micros } from "../../support/micros.ts";
import { transitionsOf } from "../zones.ts";
import type { Time } from "./interleaving.ts";

// Zones that have the same rules in all releases of the IANA database, for the years below and for the present.
export const timeZones = [
  ...["UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/St_Johns", "Asia/Kolkata"],
  ...["Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham"],
];
const start = "1985-01-01T00:00Z";
const end = "2021-01-01T00:00Z";

export const second = 1_000_000n;
export const hour = 3600n * second;
export const periodLengths = new Map([
  [Granularity.HOUR, hour],
  [Granularity.DAY, 24n * hour],
  [Granularity.WEEK, 7n * 24n * hour],
  [Granularity.MONTH, 30n * 24n * hour],
  [Granularity.QUARTER, 91n * 24n * hour],
  [Granularity.YEAR, 365n * 24n * hour],
]);

/** Shared by the questions and entries of one learner, so that the entries affect the answers. */
export interface Theme {
  readonly timeZone: string;
  readonly granularity: Granularity;
  /** A time long ago, in microseconds since 1970. */
  readonly instant: bigint;
}

export const themes: fc.Arbitrary<Theme> = fc
  .record({ timeZone: fc.constantFrom(...timeZones), granularity: fc.constantFrom(...periodLengths.keys()) })
  .chain((theme) => instants(theme.timeZone).map((instant) => ({ ...theme, instant })));

/** Generates times of clock changes, and also a leap day, because some zones have no changes. */
function instants(timeZone: string): fc.Arbitrary<bigint> {
  const changes = transitionsOf(timeZone, Temporal.Instant.from(start), Temporal.Instant.from(end));
  return fc.constantFrom(
    micros("2000-02-29T12:00Z"),
    ...changes.map((change) => change.epochNanoseconds / 1000n),
  );
}

export function timesLongAgo({ granularity, instant }: Theme): fc.Arbitrary<Time> {
  const span = 3n * (periodLengths.get(granularity) ?? 0n);
  const nudges = fc.oneof(fc.constantFrom(0n, -1n, 1n, hour, -hour), fc.bigInt({ min: -span, max: span }));
  return nudges.map((nudge) => ({ at: instant + nudge }));
}

export const recentTimes: fc.Arbitrary<Time> = fc
  .constantFrom(
    // Not late, so not announced.
    ...[-60n, 0n, 10n, 25n, 27n, 29n],
    // Late.
    ...[40n, 100n, 7200n],
  )
  .map((seconds) => ({ ago: seconds * second }));
