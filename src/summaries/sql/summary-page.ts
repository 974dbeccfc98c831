/** The learner, range and options of a summary. */
export interface SummaryRange {
  readonly userId: string;
  /** Microseconds since 1970. On a later page, this is the first instant of the page. */
  readonly from: bigint;
  readonly isFirstPage: boolean;
  /** Microseconds since 1970, not before `from`. */
  readonly to: bigint;
  /** An IANA name that the database also reads as a zone name. */
  readonly timeZone: string;
  readonly omitEmptyPeriods: boolean;
  /** In periods; 0 for no moving average. */
  readonly movingAverageWindow: number;
  /** The largest number of periods in the page. */
  readonly pageSize: number;
}

/** The first periods of a range, up to the page size. */
export interface SummaryPage {
  readonly periods: readonly PeriodRow[];
  /** The first instant of the next page, in seconds since 1970; undefined if there is no next page. */
  readonly next: bigint | undefined;
  /**
   * The end of the last period, in seconds since 1970: of the last one in the range if empty periods are omitted, and
   * otherwise of the last one that the statement processed.
   */
  readonly end: bigint;
}

/** A period as node-postgres returns it, with each bigint as a string. */
export interface PeriodRow {
  /** The first instant of the period, in seconds since 1970. */
  readonly period: string;
  readonly average_words_learned: number;
  readonly total_word_count: string;
  readonly entry_count: string;
  readonly moving_average: number | null;
}

/** A row of the result. For a page without periods there is one row, in which only `range_end` is set. */
export type SummaryRow = { readonly range_end: string } & (PeriodRow | { readonly period: null });

/** @param rows the periods of the page, and one more if there is a next page */
export function summaryPage(rows: readonly SummaryRow[], pageSize: number): SummaryPage {
  const periods = rows.filter((row): row is SummaryRow & PeriodRow => row.period !== null);
  const next = periods[pageSize];
  const [first] = rows;
  if (first === undefined) throw new Error("the statement of a summary must return at least one row");
  return {
    periods: periods.slice(0, pageSize),
    next: next && BigInt(next.period),
    end: BigInt(first.range_end),
  };
}
