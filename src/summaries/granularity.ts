import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";

/** A period of the local calendar: all but the hour, which is cut by the clock. */
export interface CalendarUnit {
  /** As DATE_TRUNC names it. */
  readonly name: "day" | "week" | "month" | "quarter" | "year";
  /** From one period to the next, as PostgreSQL writes an interval. */
  readonly step: string;
}

/** The calendar's units; HOUR is none of them. */
export const calendarUnits: ReadonlyMap<Granularity, CalendarUnit> = new Map([
  [Granularity.DAY, { name: "day", step: "1 day" }],
  [Granularity.WEEK, { name: "week", step: "7 days" }],
  [Granularity.MONTH, { name: "month", step: "1 month" }],
  [Granularity.QUARTER, { name: "quarter", step: "3 months" }],
  [Granularity.YEAR, { name: "year", step: "1 year" }],
]);

/** On average. */
export const hoursPerPeriod: Readonly<Record<Granularity, number>> = {
  [Granularity.UNSPECIFIED]: Number.NaN,
  [Granularity.HOUR]: 1,
  [Granularity.DAY]: 24,
  [Granularity.WEEK]: 7 * 24,
  [Granularity.MONTH]: (365.2425 / 12) * 24,
  [Granularity.QUARTER]: (365.2425 / 4) * 24,
  [Granularity.YEAR]: 365.2425 * 24,
};

/** About how many periods a range has: within two of the true number. */
export function estimatePeriods(granularity: Granularity, fromSeconds: bigint, toSeconds: bigint): number {
  return Number(toSeconds - fromSeconds) / 3600 / hoursPerPeriod[granularity] + 1;
}
