import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CreateEntryRequest, CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { type NewEntry, newEntry } from "../../../src/entries/entry.ts";

/** The number of learners whose entries are recorded. */
export const userCount = 10_000;

const yearMs = 365 * 24 * 60 * 60 * 1000;

/** An entry with the current time, as learners record it while they study: many entries of a learner share a bucket. */
export function presentEntry(): CreateEntryRequest {
  return entryAt(Date.now());
}

/** An entry with a random time in the last year, as in a backfill: most entries are the first of their bucket. */
export function pastEntry(): CreateEntryRequest {
  return entryAt(Date.now() - Math.floor(Math.random() * yearMs));
}

/** The entry as the service represents it internally. */
export function recordable(request: CreateEntryRequest): NewEntry {
  return newEntry(request, Date.now());
}

function entryAt(timestampMs: number): CreateEntryRequest {
  return create(CreateEntryRequestSchema, {
    requestId: randomUUID(),
    userId: `user-${Math.floor(Math.random() * userCount)}`,
    wordCount: Math.floor(Math.random() * 500),
    timestamp: timestampFromMs(timestampMs),
  });
}
