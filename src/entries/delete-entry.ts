import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type DeleteEntryRequest,
  type DeleteEntryResponse,
  DeleteEntryResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import type { LearnerChanges } from "../changes/learner-changes.ts";
import { LockRetry } from "../database/lock-retry.ts";
import { leaseMs } from "../database/notifications.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { entryMessage } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { deleteEntryRow } from "./sql/delete-entry-row.ts";

/** The dependencies of both deletion calls. */
export interface DeletionDependencies {
  readonly pool: ConnectionPool;
  readonly lockRetry: LockRetry;
  readonly recent: RecentEntries;
  readonly changes: LearnerChanges;
}

/**
 * Returns a {@link LockRetry} for deletions. It limits the concurrent retries, so that the deletions of one learner
 * cannot use all connections.
 */
export function createDeletionRetry(): LockRetry {
  return new LockRetry({ maxRetrying: 4, maxWaiting: 1000, pauseMs: 50 });
}

/**
 * Deletes one entry. Waits for half a second ({@link leaseMs}) after the commit: then no instance still treats the
 * request_id as known.
 *
 * @throws ConnectError NOT_FOUND if there is no such entry
 */
export async function deleteEntry(
  { pool, lockRetry, recent, changes }: DeletionDependencies,
  request: DeleteEntryRequest,
): Promise<DeleteEntryResponse> {
  const requestId = request.requestId.toLowerCase();
  const deleted = await lockRetry.run(() => deleteEntryRow(pool, requestId));
  recent.forget({ requestId });
  if (deleted) changes.notify(deleted.userId, { from: deleted.timestamp, to: deleted.timestamp });
  // Waits even if nothing was deleted, because another call may have deleted the entry less than leaseMs ago.
  await sleep(leaseMs);
  if (deleted === undefined) throw new ConnectError(`there is no entry ${requestId}`, Code.NotFound);
  return create(DeleteEntryResponseSchema, { entry: entryMessage(deleted) });
}
