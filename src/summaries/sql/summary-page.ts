/** What a summary is asked of. */
export interface SummaryRange {
  readonly userId: string;
  /** Microseconds since 1970; of a later page, its first instant. */
  readonly from: bigint;
  readonly isFirstPage: boolean;
  /** Microseconds since 1970, not before `from`. */
  readonly to: bigint;
  /** An IANA name that the database reads as one. */
  readonly timeZone: string;
  readonly omitEmptyPeriods: boolean;
  /** In periods; 0 for no moving average. */
  readonly movingAverageWindow: number;
  /** How many periods at most. */
  readonly pageSize: number;
}

/** The first periods of a range, up to the page size. */
export interface SummaryPage {
  readonly periods: readonly PeriodRow[];
  /** The first instant of the period after the last one, in seconds since 1970; undefined if there is none. */
  readonly next: bigint | undefined;
  /** When the last of the periods ends that were gone through, in seconds since 1970. */
  readonly end: bigint;
}

/** A period, as node-postgres gives it: a bigint comes as a string. */
export interface PeriodRow {
  /** The first instant of the period, in seconds since 1970. */
  readonly period: string;
  readonly average_words_learned: number;
  readonly total_word_count: string;
  readonly entry_count: string;
  readonly moving_average: number | null;
}

/** A row of the result: of a page without periods there is one, in which only `range_end` is set. */
export type SummaryRow = { readonly range_end: string } & (PeriodRow | { readonly period: null });

/** @param rows of the page, and one more if there is a next page */
export function summaryPage(rows: readonly SummaryRow[], pageSize: number): SummaryPage {
  const periods = rows.filter((row): row is SummaryRow & PeriodRow => row.period !== null);
  const next = periods[pageSize];
  const [first] = rows;
  if (first === undefined) throw new Error("a range has an end, even if no period is in it");
  return {
    periods: periods.slice(0, pageSize),
    next: next && BigInt(next.period),
    end: BigInt(first.range_end),
  };
}
