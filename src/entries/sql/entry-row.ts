import type { StoredEntry } from "../entry.ts";

/** The columns of learning_log, for SELECT or RETURNING, that make up a {@link StoredEntry}. */
export const entryColumns = `
  request_id,
  user_id,
  word_count,
  (extract(epoch FROM timestamp) * 1000000)::bigint AS timestamp_micros,
  (extract(epoch FROM create_time) * 1000000)::bigint AS create_time_micros`;

/** A row of {@link entryColumns} as node-postgres returns it: a bigint is a string. */
export interface EntryRow {
  readonly request_id: string;
  readonly user_id: string;
  readonly word_count: number;
  readonly timestamp_micros: string;
  readonly create_time_micros: string;
}

export function storedEntry(row: EntryRow): StoredEntry {
  return {
    requestId: row.request_id,
    userId: row.user_id,
    wordCount: row.word_count,
    timestamp: BigInt(row.timestamp_micros),
    createTime: BigInt(row.create_time_micros),
  };
}
