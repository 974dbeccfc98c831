/** A row of a summary, as node-postgres gives it: a bigint comes as a string. */
export interface PeriodRow {
  /** The first instant of the period, in seconds since 1970. */
  readonly period: string;
  readonly average_words_learned: number;
  readonly total_word_count: string;
  readonly entry_count: string;
}

/** What a summary is asked of. */
export interface SummaryRange {
  readonly userId: string;
  /** Microseconds since 1970. */
  readonly from: bigint;
  /** Microseconds since 1970, not before `from`. */
  readonly to: bigint;
  /** An IANA name that the database reads as one. */
  readonly timeZone: string;
  readonly omitEmptyPeriods: boolean;
}
