import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CreateEntryRequest, CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { type NewEntry, newEntry } from "../../../src/entries/entry.ts";

/** Entries are those of so many learners. */
export const userCount = 10_000;

const yearMs = 365 * 24 * 60 * 60 * 1000;

/** An entry as it comes while learners study: at this time, so that each has one bucket that many entries go to. */
export function presentEntry(): CreateEntryRequest {
  return entryAt(Date.now());
}

/** An entry as back-fills have it: some time in the last year, so that most of them are the first of their bucket. */
export function pastEntry(): CreateEntryRequest {
  return entryAt(Date.now() - Math.floor(Math.random() * yearMs));
}

/** The entry as the service has it inside. */
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
