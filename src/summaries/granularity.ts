import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";

/** How PostgreSQL counts the periods of a granularity. */
export interface CalendarUnit {
  /** The name that DATE_TRUNC uses. */
  readonly name: "hour" | "day" | "week" | "month" | "quarter" | "year";
  /**
   * In PostgreSQL's syntax: the interval from the start of one period to the start of the next; a day for hours, of
   * which `findLabels` asks for one of each day; the others follow from it.
   */
  readonly step: string;
  /** The length of the longest period in seconds, apart from clock changes. */
  readonly longestSeconds: number;
}

export const daySeconds = 86_400;

/** The calendar unit of each granularity. */
export const calendarUnits: Readonly<Record<Granularity, CalendarUnit>> = {
  // The schema does not allow it in a request.
  [Granularity.UNSPECIFIED]: { name: "day", step: "1 day", longestSeconds: Number.NaN },
  [Granularity.HOUR]: { name: "hour", step: "1 day", longestSeconds: 3_600 },
  [Granularity.DAY]: { name: "day", step: "1 day", longestSeconds: daySeconds },
  [Granularity.WEEK]: { name: "week", step: "7 days", longestSeconds: 7 * daySeconds },
  [Granularity.MONTH]: { name: "month", step: "1 month", longestSeconds: 31 * daySeconds },
  [Granularity.QUARTER]: { name: "quarter", step: "3 months", longestSeconds: 92 * daySeconds },
  [Granularity.YEAR]: { name: "year", step: "1 year", longestSeconds: 366 * daySeconds },
};

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
