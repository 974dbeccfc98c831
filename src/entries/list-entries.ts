import { create } from "@bufbuild/protobuf";
import {
  type ListEntriesRequest,
  ListEntriesRequestSchema,
  type ListEntriesResponse,
  ListEntriesResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import type { CallContext } from "../call-context.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { microsFromTimestamp } from "../database/timestamps.ts";
import { decodePageToken, encodePageToken } from "../paging/page-token.ts";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { requireValidRange } from "../validation/timestamps.ts";
import { entryMessage } from "./entry.ts";
import { type ListPosition, selectEntries } from "./sql/select-entries.ts";

const defaultPageSize = 100;
const maxPageSize = 1000;

const lowestUuid = "00000000-0000-0000-0000-000000000000";
const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * Lists one learner's entries, newest first.
 *
 * @param request valid by the rules of the schema
 * @param context aborting its signal cancels the statement
 * @throws ConnectError INVALID_ARGUMENT if from is after to, if one of them is invalid, or if the page token belongs to
 * another request
 */
export async function listEntries(
  { pool }: { readonly pool: ConnectionPool },
  request: ListEntriesRequest,
  { signal }: CallContext,
): Promise<ListEntriesResponse> {
  const range = rangeOf(request);
  const { userId, from } = range;
  const after = request.pageToken === "" ? startOf(range) : readToken(range, request.pageToken);
  const pageSize = Math.min(request.pageSize || defaultPageSize, maxPageSize);
  // Selects one entry more than the page holds, to detect whether there is a next page.
  const found = await selectEntries(pool, { userId, from, after }, pageSize + 1, signal);
  const page = found.slice(0, pageSize);
  const last = page.at(-1);
  return create(ListEntriesResponseSchema, {
    entries: page.map(entryMessage),
    nextPageToken:
      found.length > pageSize && last
        ? encodePageToken(tokenBinding(range), [String(last.timestamp), last.requestId])
        : "",
  });
}

/** The part of the request that is the same for every page. Times are in microseconds since 1970. */
interface ListRange {
  readonly userId: string;
  readonly from: bigint | undefined;
  readonly to: bigint | undefined;
}

function rangeOf({ userId, from, to }: ListEntriesRequest): ListRange {
  requireValidRange(ListEntriesRequestSchema, from, to);
  return {
    userId,
    from: from && microsFromTimestamp(from),
    to: to && microsFromTimestamp(to),
  };
}

/** The position after every entry at `to`, because `to` is exclusive. */
function startOf({ to }: ListRange): ListPosition | undefined {
  return to === undefined ? undefined : { timestamp: to, requestId: lowestUuid };
}

function readToken(range: ListRange, token: string): ListPosition {
  const [timestamp = "", requestId = ""] = decodePageToken(tokenBinding(range), token) ?? [];
  const isPosition = /^\d{1,16}$/.test(timestamp) && uuid.test(requestId);
  if (!isPosition || !isWithin(range, BigInt(timestamp))) {
    throw invalidArgument(
      ListEntriesRequestSchema,
      "page_token",
      "page_token.valid",
      "must be the next_page_token of an answer to the same user_id, from and to",
    );
  }
  return { timestamp: BigInt(timestamp), requestId };
}

/** Checks the position of a page token: a forged one must not give access to entries outside the range. */
function isWithin({ from, to }: ListRange, timestamp: bigint): boolean {
  return (from === undefined || timestamp >= from) && (to === undefined || timestamp < to);
}

function tokenBinding({ userId, from, to }: ListRange): unknown[] {
  return ["ListEntries", userId, from, to];
}
