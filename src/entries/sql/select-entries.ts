import type { ConnectionPool } from "../../database/pool.ts";
import { query } from "../../database/query.ts";
import type { StoredEntry } from "../entry.ts";
import { type EntryRow, entryColumns, storedEntry } from "./entry-row.ts";

/** Which entries are asked for; times in microseconds since 1970. */
export interface ListSelection {
  readonly userId: string;
  /** At this time or later. */
  readonly from: bigint | undefined;
  /** Only what comes after this place in the order of the list. */
  readonly after: ListPosition | undefined;
}

/** A place in the order of the list: that of an entry, or one where an entry could be. */
export interface ListPosition {
  readonly timestamp: bigint;
  readonly requestId: string;
}

/**
 * One learner's entries, the newest first; a range of the index (user_id, timestamp, request_id) from its end.
 *
 * There is one upper bound only: of two, PostgreSQL would go to the one and read its way down to the other.
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
