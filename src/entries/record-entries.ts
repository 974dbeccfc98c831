import type pg from "pg";
import { retryOnContention } from "../database/contention.ts";
import type { LearnerChanges } from "../database/learner-changes.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import { findEntries } from "./sql/find-entries.ts";
import { insertEntries } from "./sql/insert-entries.ts";

/** What became of an entry that was to be recorded. */
export interface Recording {
  /** What is stored under its request_id. */
  readonly stored: StoredEntry;
  /** It was not known before. */
  readonly isNew: boolean;
}

/** What recording works on. */
export interface RecordingParts {
  readonly pool: pg.Pool;
  readonly changes: LearnerChanges;
}

/**
 * Records entries, all of them or, on any error, none. Of several with one request_id the first is recorded.
 *
 * @returns one for each entry, in the same order
 * @throws as `query` does
 */
export async function recordEntries(
  parts: RecordingParts,
  entries: readonly NewEntry[],
): Promise<Recording[]> {
  const first = new Map<string, NewEntry>();
  for (const entry of entries) {
    if (!first.has(entry.requestId)) first.set(entry.requestId, entry);
  }
  const { created, known } = await createOrFind(parts, first);
  return entries.map((entry) => {
    const stored = created.get(entry.requestId) ?? known.get(entry.requestId);
    if (stored === undefined) throw new Error("an entry was neither created nor found");
    return { stored, isNew: created.has(entry.requestId) && first.get(entry.requestId) === entry };
  });
}

type EntriesById = Map<string, StoredEntry>;

/** @param entries by request_id */
async function createOrFind(
  { pool, changes }: RecordingParts,
  entries: ReadonlyMap<string, NewEntry>,
): Promise<{ created: EntriesById; known: EntriesById }> {
  const created: EntriesById = new Map();
  const known: EntriesById = new Map();
  let open = [...entries.values()];
  while (open.length > 0) {
    const watchedIds = changes.watched.among(open.map(({ userId }) => userId));
    const inserted = await retryOnContention(() => insertEntries(pool, open, watchedIds));
    for (const entry of inserted.created) created.set(entry.requestId, entry);
    for (const { userId, timestamp } of inserted.told) {
      changes.announce(userId, { from: timestamp, to: timestamp });
    }
    // A second statement, for the first cannot see what another transaction committed while it ran.
    const missing = open.filter(({ requestId }) => !created.has(requestId));
    if (missing.length > 0) {
      for (const entry of await findEntries(
        pool,
        missing.map(({ requestId }) => requestId),
      )) {
        known.set(entry.requestId, entry);
        // Another instance may have recorded it a moment ago, and its news be still on the way.
        changes.announce(entry.userId, { from: entry.timestamp, to: entry.timestamp });
      }
    }
    // What was deleted between the two is free again.
    open = missing.filter(({ requestId }) => !known.has(requestId));
  }
  return { created, known };
}
