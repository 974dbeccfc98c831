import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  Granularity,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { microsFromTimestamp } from "../database/timestamps.ts";
import { invalidArgument } from "../errors/invalid-argument.ts";
import { requireValidRange } from "../errors/valid-timestamp.ts";
import { decodePageToken, encodePageToken } from "../paging/page-token.ts";
import { estimatePeriods } from "./granularity.ts";
import type { SummaryRange } from "./sql/summary-page.ts";
import { databaseTimeZone } from "./time-zone.ts";

/** The most periods that one answer has. */
export const maxPageSize = 10_000;
const maxPeriods = 1_000_000;

/** A request with every default filled in: equal requests, however they are written, give equal ones. */
export interface SummaryRequest {
  readonly granularity: Granularity;
  /** Begins where the page begins. */
  readonly range: SummaryRange;
  /** What the request for the next page must have in common with this one. */
  readonly paging: readonly (string | number | boolean)[];
}

/**
 * @param request valid by the rules of the schema
 * @throws ConnectError INVALID_ARGUMENT if the range is none or too long, the time zone unknown, or the page token another's
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
    timeZone: timeZone.toLowerCase(),
    omitEmptyPeriods,
    movingAverageWindow,
  };
  const paging = [
    "GetSummary",
    granularity,
    userId,
    String(whole.from),
    String(whole.to),
    whole.timeZone,
    omitEmptyPeriods,
    movingAverageWindow,
  ];
  const isFirstPage = pageToken === "";
  return {
    granularity,
    range: {
      ...whole,
      from: isFirstPage ? whole.from : pageStart(paging, pageToken),
      isFirstPage,
      pageSize: Math.min(request.pageSize || maxPageSize, maxPageSize),
    },
    paging,
  };
}

/** @returns equal texts for requests whose answers are equal, next_page_token and all, and for no others */
export function canonicalKey({ paging, range: { from, isFirstPage, pageSize } }: SummaryRequest): string {
  return JSON.stringify([...paging, String(from), isFirstPage, pageSize]);
}

/** @param next the first instant of the next page, in seconds since 1970; undefined if there is none */
export function nextPageToken({ paging }: SummaryRequest, next: bigint | undefined): string {
  return next === undefined ? "" : encodePageToken(paging, [String(next)]);
}

/** The name is none that the IANA database has, or that the database server knows. */
export function unknownTimeZone() {
  return invalidArgument(
    GetSummaryRequestSchema,
    "time_zone",
    "time_zone.iana",
    "must be an IANA time zone, such as Europe/Berlin",
  );
}

/** @returns microseconds since 1970 */
function pageStart(paging: readonly unknown[], pageToken: string): bigint {
  const [seconds] = decodePageToken(paging, pageToken) ?? [];
  if (seconds === undefined || !/^-?\d{1,12}$/.test(seconds)) {
    throw invalidArgument(
      GetSummaryRequestSchema,
      "page_token",
      "page_token.valid",
      "must be the next_page_token of an answer to the same request",
    );
  }
  return BigInt(seconds) * 1_000_000n;
}
