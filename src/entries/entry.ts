import { create } from "@bufbuild/protobuf";
import { type CreateEntryRequest, type Entry, EntrySchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { microsFromTimestamp, timestampFromMicros } from "../database/timestamps.ts";

/** What a learner studied at one time. */
export interface EntryPayload {
  /** In lower case. */
  readonly requestId: string;
  readonly userId: string;
  readonly wordCount: number;
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
}

/** An entry that is to be recorded. */
export interface NewEntry extends EntryPayload {
  /** Whether the caller gave the timestamp; if not, it is when the call came. */
  readonly hasTimestamp: boolean;
}

/** An entry as the database has it. */
export interface StoredEntry extends EntryPayload {
  /** Microseconds since 1970, by the clock of the database. */
  readonly createTime: bigint;
}

/**
 * @param request valid by the rules of the schema
 * @param nowMs the timestamp of an entry that has none, in milliseconds since 1970
 */
export function newEntry(request: CreateEntryRequest, nowMs: number): NewEntry {
  const { timestamp } = request;
  return {
    requestId: request.requestId.toLowerCase(),
    userId: request.userId,
    // The schema requires it.
    wordCount: request.wordCount ?? 0,
    timestamp: timestamp ? microsFromTimestamp(timestamp) : BigInt(nowMs) * 1000n,
    hasTimestamp: timestamp !== undefined,
  };
}

/** Whether what was sent is what is stored. A timestamp that was not sent matches any. */
export function payloadMatches(sent: NewEntry, stored: StoredEntry): boolean {
  return (
    sent.userId === stored.userId &&
    sent.wordCount === stored.wordCount &&
    (!sent.hasTimestamp || sent.timestamp === stored.timestamp)
  );
}

/** The entry as callers get it. */
export function entryMessage(stored: StoredEntry): Entry {
  return create(EntrySchema, {
    requestId: stored.requestId,
    userId: stored.userId,
    wordCount: stored.wordCount,
    timestamp: timestampFromMicros(stored.timestamp),
    createTime: timestampFromMicros(stored.createTime),
  });
}
