import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  Granularity,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { microsFromTimestamp } from "../database/timestamps.ts";
import { decodePageToken, encodePageToken } from "../paging/page-token.ts";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { requireValidRange } from "../validation/timestamps.ts";
import { estimatePeriods } from "./granularity.ts";
import type { SummaryRange } from "./sql/summary-page.ts";
import { databaseTimeZone } from "./time-zone.ts";

/** The most periods that one answer has. */
export const maxPageSize = 10_000;
const maxPeriods = 1_000_000;

const dayMicros = 86_400_000_000n;

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
      from: isFirstPage ? whole.from : pageStart(paging, pageToken, granularity, whole),
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

/**
 * Where a page begins. Somebody may have made the token up: it must not lead out of the range, whose length is limited.
 *
 * @returns microseconds since 1970
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
  // Where the clock is put back across midnight, the day that begins there may be left again, and `from` lie in the day
  // before, a little later than that beginning. An hour that begins earlier than `from` is on the first page.
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
