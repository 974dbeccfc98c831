import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type DeleteUserEntriesRequest,
  type DeleteUserEntriesResponse,
  DeleteUserEntriesResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import { allTime } from "../changes/learner-changes.ts";
import { leaseMs } from "../database/notifications.ts";
import type { DeletionDependencies } from "./delete-entry.ts";
import { deleteUserEntryRows } from "./sql/delete-user-entry-rows.ts";

/**
 * Deletes every entry that a learner has when the call begins. Waits for half a second after the last commit, as
 * DeleteEntry does.
 *
 * @throws ConnectError NOT_FOUND if this call deleted no entry
 */
export async function deleteUserEntries(
  { pool, lockRetry, recent, changes }: DeletionDependencies,
  { userId }: DeleteUserEntriesRequest,
): Promise<DeleteUserEntriesResponse> {
  const deletedCount = await deleteUserEntryRows(pool, lockRetry, userId);
  recent.forget({ userId });
  changes.notify(userId, allTime);
  await sleep(leaseMs);
  if (deletedCount === 0) throw new ConnectError("there is no entry of this user_id", Code.NotFound);
  return create(DeleteUserEntriesResponseSchema, { deletedCount: BigInt(deletedCount) });
}
