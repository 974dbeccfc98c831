import { create } from "@bufbuild/protobuf";
import { type CreateEntryRequest, type Entry, EntrySchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { microsFromTimestamp, timestampFromMicros } from "../database/timestamps.ts";

/** What a learner studied at one point in time. */
export interface EntryPayload {
  /** In lower case. */
  readonly requestId: string;
  readonly userId: string;
  readonly wordCount: number;
  /** Microseconds since 1970. */
  readonly timestamp: bigint;
}

/** An entry to be recorded. */
export interface NewEntry extends EntryPayload {
  /** Whether the caller sent a timestamp. If not, `timestamp` is the time at which the call arrived. */
  readonly hasTimestamp: boolean;
}

/** An entry as stored in the database. */
export interface StoredEntry extends EntryPayload {
  /** Microseconds since 1970, by the database's clock. */
  readonly createTime: bigint;
}

/**
 * @param request valid by the rules of the schema
 * @param nowMs the timestamp for an entry without one, in milliseconds since 1970
 */
export function newEntry(request: CreateEntryRequest, nowMs: number): NewEntry {
  const { timestamp } = request;
  return {
    requestId: request.requestId.toLowerCase(),
    userId: request.userId,
    // The schema requires word_count, so the 0 is never used.
    wordCount: request.wordCount ?? 0,
    timestamp: timestamp ? microsFromTimestamp(timestamp) : BigInt(nowMs) * 1000n,
    hasTimestamp: timestamp !== undefined,
  };
}

/** Returns whether the sent entry equals the stored one. Without a sent timestamp, any stored timestamp matches. */
export function payloadMatches(sent: NewEntry, stored: StoredEntry): boolean {
  return (
    sent.userId === stored.userId &&
    sent.wordCount === stored.wordCount &&
    (!sent.hasTimestamp || sent.timestamp === stored.timestamp)
  );
}

/** Converts an entry to the message that callers receive. */
export function entryMessage(stored: StoredEntry): Entry {
  return create(EntrySchema, {
    requestId: stored.requestId,
    userId: stored.userId,
    wordCount: stored.wordCount,
    timestamp: timestampFromMicros(stored.timestamp),
    createTime: timestampFromMicros(stored.createTime),
  });
}
