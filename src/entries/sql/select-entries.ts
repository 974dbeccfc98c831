import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { StoredEntry } from "../entry.ts";
import { type EntryRow, entryColumns, storedEntry } from "./entry-row.ts";

/** The entries to select. Times are in microseconds since 1970. */
export interface ListSelection {
  readonly userId: string;
  /** Selects entries at this time or later. */
  readonly from: bigint | undefined;
  /** Selects entries after this position in the order of the list. */
  readonly after: ListPosition | undefined;
}

/** A position in the order of the list. There need not be an entry at this position. */
export interface ListPosition {
  readonly timestamp: bigint;
  readonly requestId: string;
}

/**
 * Returns one learner's entries, newest first. PostgreSQL scans a range of the index (user_id, timestamp, request_id)
 * backward.
 *
 * The statement has only one upper bound. With two, PostgreSQL could start the scan at the higher one, and read and
 * discard every row down to the lower one.
 */
export async function selectEntries(
  pool: ConnectionPool,
  { userId, from, after }: ListSelection,
  limit: number,
  signal: AbortSignal,
): Promise<StoredEntry[]> {
  const rows = await query<EntryRow>(
    pool,
    {
      name: "list-entries",
      text: `
        SELECT ${entryColumns}
        FROM learning_log
        WHERE user_id = $1
          AND timestamp >= coalesce(timestamptz 'epoch' + $2::bigint * interval '1 microsecond', '-infinity')
          AND (timestamp, request_id) < (
            coalesce(timestamptz 'epoch' + $3::bigint * interval '1 microsecond', 'infinity'),
            coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
          )
        ORDER BY timestamp DESC, request_id DESC
        LIMIT $5`,
      values: [userId, from, after?.timestamp, after?.requestId, limit],
    },
    signal,
  );
  return rows.map(storedEntry);
}
