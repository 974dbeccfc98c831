import type pg from "pg";
import { type DeletionNotice, deletionsChannel } from "../recent-entries.ts";

/** Tells every instance what was deleted, once the transaction is committed. */
export async function notifyDeletion(client: pg.PoolClient, notice: DeletionNotice): Promise<void> {
  await client.query({
    name: "notify-deletion",
    text: "SELECT pg_notify($1, $2)",
    values: [deletionsChannel, JSON.stringify(notice)],
  });
}
