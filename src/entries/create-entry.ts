import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type pg from "pg";
import {
  type CreateEntryRequest,
  CreateEntryRequestSchema,
  type CreateEntryResponse,
  CreateEntryResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import { microsFromTimestamp, timestampFromMicros } from "../database/timestamps.ts";
import { requireValidTimestamp, requireWellFormed } from "../errors/field-checks.ts";
import { insertEntries, type NewEntry } from "./sql/insert-entries.ts";

/**
 * Records one entry; answers once it is committed.
 *
 * The caller's giving up does not cancel the statement: whether the entry stands would then be anyone's guess just
 * as before, and a retry tells.
 *
 * @param request valid by the rules of the schema
 * @throws ConnectError ALREADY_EXISTS if the request_id is known
 */
export async function createEntry(pool: pg.Pool, request: CreateEntryRequest): Promise<CreateEntryResponse> {
  const entry = newEntry(request, Date.now());
  const [created] = await insertEntries(pool, [entry]);
  if (created === undefined) {
    throw new ConnectError(`request_id ${entry.requestId} is known`, Code.AlreadyExists);
  }
  return create(CreateEntryResponseSchema, { entry: storedEntry(entry, created.createTime) });
}

/** @param nowMs the timestamp of an entry that has none, in milliseconds since 1970 */
function newEntry(request: CreateEntryRequest, nowMs: number): NewEntry {
  requireWellFormed(CreateEntryRequestSchema, "user_id", request.userId);
  if (request.timestamp) requireValidTimestamp(CreateEntryRequestSchema, "timestamp", request.timestamp);
  return {
    requestId: request.requestId.toLowerCase(),
    userId: request.userId,
    // The schema requires it.
    wordCount: request.wordCount ?? 0,
    timestamp: request.timestamp ? microsFromTimestamp(request.timestamp) : BigInt(nowMs) * 1000n,
  };
}

function storedEntry(entry: NewEntry, createTime: bigint) {
  return {
    requestId: entry.requestId,
    userId: entry.userId,
    wordCount: entry.wordCount,
    timestamp: timestampFromMicros(entry.timestamp),
    createTime: timestampFromMicros(createTime),
  } satisfies MessageInitShape<typeof CreateEntryResponseSchema>["entry"];
}
