import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type RequestIdConflict, RequestIdConflictSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { entryMessage, type NewEntry, payloadMatches, type StoredEntry } from "./entry.ts";

/** Describes a conflict with a known request_id. Does not disclose the stored entry if it is another learner's. */
export function requestIdConflict(sent: NewEntry, stored: StoredEntry): RequestIdConflict {
  return create(RequestIdConflictSchema, {
    requestId: stored.requestId,
    payloadMatches: payloadMatches(sent, stored),
    ...(sent.userId === stored.userId && { existing: entryMessage(stored) }),
  });
}

/** Returns an ALREADY_EXISTS error with a RequestIdConflict detail. */
export function alreadyExists(sent: NewEntry, stored: StoredEntry): ConnectError {
  const value = requestIdConflict(sent, stored);
  const payload = value.payloadMatches ? "the same payload" : "another payload";
  return new ConnectError(
    `request_id ${sent.requestId} is already recorded with ${payload}`,
    Code.AlreadyExists,
    undefined,
    [{ desc: RequestIdConflictSchema, value }],
  );
}
