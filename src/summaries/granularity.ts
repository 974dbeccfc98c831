import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";

/** A granularity whose periods follow the local calendar. HOUR is not one of them: hours follow the clock. */
export interface CalendarUnit {
  /** The name that DATE_TRUNC uses. */
  readonly name: "day" | "week" | "month" | "quarter" | "year";
  /** The interval from the start of one period to the start of the next, in PostgreSQL's syntax. */
  readonly step: string;
}

/** The calendar unit of each granularity; HOUR has none. */
export const calendarUnits: ReadonlyMap<Granularity, CalendarUnit> = new Map([
  [Granularity.DAY, { name: "day", step: "1 day" }],
  [Granularity.WEEK, { name: "week", step: "7 days" }],
  [Granularity.MONTH, { name: "month", step: "1 month" }],
  [Granularity.QUARTER, { name: "quarter", step: "3 months" }],
  [Granularity.YEAR, { name: "year", step: "1 year" }],
]);

/** The average length of a period, in hours. */
export const hoursPerPeriod: Readonly<Record<Granularity, number>> = {
  [Granularity.UNSPECIFIED]: Number.NaN,
  [Granularity.HOUR]: 1,
  [Granularity.DAY]: 24,
  [Granularity.WEEK]: 7 * 24,
  [Granularity.MONTH]: (365.2425 / 12) * 24,
  [Granularity.QUARTER]: (365.2425 / 4) * 24,
  [Granularity.YEAR]: 365.2425 * 24,
};

/** Estimates how many periods a range has. The estimate differs from the true number by at most two. */
export function estimatePeriods(granularity: Granularity, fromSeconds: bigint, toSeconds: bigint): number {
  return Number(toSeconds - fromSeconds) / 3600 / hoursPerPeriod[granularity] + 1;
}
