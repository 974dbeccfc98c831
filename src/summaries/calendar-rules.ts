import { type CalendarUnit, daySeconds } from "./granularity.ts";

/** Everything that a calendar depends on. It is the same for all learners. */
export interface CalendarRules {
  readonly unit: CalendarUnit;
  /** An IANA name that the database also reads as a zone name, in lower case. */
  readonly timeZone: string;
  /**
   * How long after local midnight the periods begin, in minutes; for weeks, how long after Monday's midnight; 0 for
   * hours.
   */
  readonly shiftMinutes: number;
}

/** A time in seconds that is longer than each period, even if the clock changes by a day. */
export function longerThanPeriod({ unit }: CalendarRules): number {
  return unit.longestSeconds + 2 * daySeconds;
}
