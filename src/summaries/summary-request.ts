import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  Granularity,
  Weekday,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { microsFromTimestamp } from "../database/timestamps.ts";
import { decodePageToken, encodePageToken } from "../paging/page-token.ts";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { requireValidRange } from "../validation/timestamps.ts";
import type { CalendarRules } from "./calendar-rules.ts";
import { calendarUnits, estimatePeriods } from "./granularity.ts";
import { databaseTimeZone } from "./time-zone.ts";

/** The largest number of periods in one response. */
export const maxPageSize = 10_000;
const maxPeriods = 1_000_000;

const dayMicros = 86_400_000_000n;
const dayMinutes = 1_440;

/** The learner, range and options of a summary. */
export interface SummaryRange {
  readonly userId: string;
  /** Microseconds since 1970. On a later page, this is the first instant of the page. */
  readonly from: bigint;
  readonly isFirstPage: boolean;
  /** Microseconds since 1970, not before `from`. */
  readonly to: bigint;
  readonly omitEmptyPeriods: boolean;
  /** In periods; 0 for no moving average. */
  readonly movingAverageWindow: number;
  /** The largest number of periods in the page. */
  readonly pageSize: number;
}

/** A request with all defaults filled in. Requests with the same meaning result in equal objects. */
export interface SummaryRequest {
  readonly granularity: Granularity;
  readonly rules: CalendarRules;
  /** Starts where the page starts. */
  readonly range: SummaryRange;
  /** The values that must be the same in the request for the next page. */
  readonly paging: readonly (string | number | boolean)[];
}

/**
 * Checks a request, and fills in the defaults.
 *
 * @param request valid by the rules of the schema
 * @throws ConnectError INVALID_ARGUMENT if the range is invalid or too long, if the time zone is unknown, or if the
 * page token belongs to another request
 */
export function summaryRequest(request: GetSummaryRequest): SummaryRequest {
  const { userId, from, to, granularity, omitEmptyPeriods, movingAverageWindow, pageToken } = request;
  if (from === undefined || to === undefined) throw new Error("the schema requires from and to");
  requireValidRange(GetSummaryRequestSchema, from, to);
  if (estimatePeriods(granularity, from.seconds, to.seconds) > maxPeriods) {
    throw invalidArgument(
      GetSummaryRequestSchema,
      "to",
      "summary.max_periods",
      `must be at most 1,000,000 periods of ${Granularity[granularity]} after from`,
    );
  }
  const timeZone = databaseTimeZone(request.timeZone || "UTC");
  if (timeZone === undefined) throw unknownTimeZone();
  const whole = {
    userId,
    from: microsFromTimestamp(from),
    to: microsFromTimestamp(to),
    omitEmptyPeriods,
    movingAverageWindow,
  };
  const rules = {
    unit: calendarUnits[granularity],
    timeZone: timeZone.toLowerCase(),
    shiftMinutes: shiftMinutes(request),
  };
  const paging = [
    "GetSummary",
    granularity,
    userId,
    String(whole.from),
    String(whole.to),
    rules.timeZone,
    rules.shiftMinutes,
    omitEmptyPeriods,
    movingAverageWindow,
  ];
  const isFirstPage = pageToken === "";
  return {
    granularity,
    rules,
    range: {
      ...whole,
      from: isFirstPage ? whole.from : pageStart(paging, pageToken, granularity, whole),
      isFirstPage,
      pageSize: Math.min(request.pageSize || maxPageSize, maxPageSize),
    },
    paging,
  };
}

/** @returns how long after local midnight the periods begin; for weeks, how long after Monday's midnight */
function shiftMinutes({ granularity, dayStart, weekStart }: GetSummaryRequest): number {
  if (granularity === Granularity.HOUR) return 0;
  if (granularity !== Granularity.WEEK) return dayStart;
  return dayStart + ((weekStart || Weekday.MONDAY) - Weekday.MONDAY) * dayMinutes;
}

/**
 * @returns equal strings for requests with the same meaning, and so with the same response and next_page_token;
 * different strings for all others
 */
export function canonicalKey({ paging, range: { from, isFirstPage, pageSize } }: SummaryRequest): string {
  return JSON.stringify([...paging, String(from), isFirstPage, pageSize]);
}

/** @param next the first instant of the next page, in seconds since 1970; undefined if there is no next page */
export function nextPageToken({ paging }: SummaryRequest, next: bigint | undefined): string {
  return next === undefined ? "" : encodePageToken(paging, [String(next)]);
}

/** The error for a time zone that the IANA database does not have, or that the database server does not know. */
export function unknownTimeZone() {
  return invalidArgument(
    GetSummaryRequestSchema,
    "time_zone",
    "time_zone.iana",
    "must be an IANA time zone, such as Europe/Berlin",
  );
}

/**
 * Returns the start of a page. A caller may forge a token, so a start outside the range is rejected, because the
 * length of the range is limited.
 *
 * @returns microseconds since 1970
 * @throws ConnectError INVALID_ARGUMENT if the token is invalid or belongs to another request
 */
function pageStart(
  paging: readonly unknown[],
  pageToken: string,
  granularity: Granularity,
  { from, to }: Pick<SummaryRange, "from" | "to">,
): bigint {
  const [seconds] = decodePageToken(paging, pageToken) ?? [];
  const start =
    seconds !== undefined && /^-?\d{1,12}$/.test(seconds) ? BigInt(seconds) * 1_000_000n : undefined;
  // Where the clock is set back across midnight, a new day starts, and then the clock returns to the day before. If
  // `from` lies in that second part of the day before, the new day has started before `from`, and can still be on a
  // later page. Hours are different: one that starts before `from` is always on the first page.
  const earliest = granularity === Granularity.HOUR ? from : from - dayMicros;
  if (start === undefined || start < earliest || start > to) {
    throw invalidArgument(
      GetSummaryRequestSchema,
      "page_token",
      "page_token.valid",
      "must be the next_page_token of an answer to the same request",
    );
  }
  return start;
}
