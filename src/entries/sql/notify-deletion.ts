import type pg from "pg";
import { type ChangedRange, changePayload, changesChannel } from "../../changes/learner-changes.ts";
import { type DeletionNotice, deletionsChannel } from "../recent-entries.ts";

/**
 * Notifies every instance of what was deleted, and of the learner and the range of time that changed. PostgreSQL
 * delivers the notifications when the client's transaction commits.
 */
export async function notifyDeletion(
  client: pg.PoolClient,
  notice: DeletionNotice,
  userId: string,
  range: ChangedRange,
): Promise<void> {
  await client.query({
    name: "notify-deletion",
    text: "SELECT pg_notify($1, $2), pg_notify($3, $4)",
    values: [deletionsChannel, JSON.stringify(notice), changesChannel, changePayload(userId, range)],
  });
}
