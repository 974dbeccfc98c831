import type pg from "pg";
import { query } from "../../database/query.ts";
import type { StoredEntry } from "../entry.ts";
import { type EntryRow, entryColumns, storedEntry } from "./entry-row.ts";

/** Which entries are asked for; times in microseconds since 1970. */
export interface ListSelection {
  readonly userId: string;
  /** At this time or later. */
  readonly from: bigint | undefined;
  /** Before this time. */
  readonly to: bigint | undefined;
  /** Only what comes after this entry in the order of the list. */
  readonly after: { readonly timestamp: bigint; readonly requestId: string } | undefined;
}

/** One learner's entries, the newest first; a range of the index (user_id, timestamp, request_id) from its end. */
export async function listEntries(
  pool: pg.Pool,
  { userId, from, to, after }: ListSelection,
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
          AND timestamp < coalesce(timestamptz 'epoch' + $3::bigint * interval '1 microsecond', 'infinity')
          AND (timestamp, request_id) < (
            coalesce(timestamptz 'epoch' + $4::bigint * interval '1 microsecond', 'infinity'),
            coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
          )
        ORDER BY timestamp DESC, request_id DESC
        LIMIT $6`,
      values: [userId, from, to, after?.timestamp, after?.requestId, limit],
    },
    signal,
  );
  return rows.map(storedEntry);
}
