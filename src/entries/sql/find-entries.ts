import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { StoredEntry } from "../entry.ts";
import { type EntryRow, entryColumns, storedEntry } from "./entry-row.ts";

/** Returns the entries with these request_ids, in any order. Omits unknown request_ids. */
export async function findEntries(
  pool: ConnectionPool,
  requestIds: readonly string[],
): Promise<StoredEntry[]> {
  const rows = await query<EntryRow>(pool, {
    name: "find-entries",
    text: `SELECT ${entryColumns} FROM learning_log WHERE request_id = ANY ($1::uuid[])`,
    values: [requestIds],
  });
  return rows.map(storedEntry);
}
