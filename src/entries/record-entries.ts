import type { LearnerChanges } from "../changes/learner-changes.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { retryOnContention } from "../database/query.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import { findEntries } from "./sql/find-entries.ts";
import { insertEntries } from "./sql/insert-entries.ts";

/** The result of recording one entry. */
export interface RecordResult {
  /** The entry that is stored under its request_id. */
  readonly stored: StoredEntry;
  /** Whether the entry was created; false if its request_id was already known. */
  readonly isNew: boolean;
}

export interface RecordDependencies {
  readonly pool: ConnectionPool;
  readonly changes: LearnerChanges;
}

/**
 * Records entries. The first statement creates all new ones or, on any error, none. Further statements follow only if
 * some request_ids are already known. If several entries have the same request_id, the first one is recorded.
 *
 * @param created receives the entries created so far, so that they are known if a later statement fails; pass the same
 * array to each attempt to record these entries
 * @returns one result for each entry, in the same order
 * @throws as `query` does
 */
export async function recordEntries(
  dependencies: RecordDependencies,
  entries: readonly NewEntry[],
  created: StoredEntry[] = [],
): Promise<RecordResult[]> {
  if (created.length === 0) {
    const inserted = await create(dependencies, entries);
    // Usually all entries are new.
    if (inserted.length === entries.length) return inserted.map((stored) => ({ stored, isNew: true }));
    created.push(...inserted);
  }

  const first = new Map<string, NewEntry>();
  for (const entry of entries) {
    if (!first.has(entry.requestId)) first.set(entry.requestId, entry);
  }
  const known: StoredEntry[] = [];
  let pending = without([...first.values()], created);
  while (pending.length > 0) {
    // A separate statement, because the insert cannot see what other transactions committed while it ran.
    const found = await find(dependencies, pending);
    known.push(...found);
    // An entry deleted between the two statements can be inserted again.
    const missing = without(pending, found);
    const inserted = missing.length > 0 ? await create(dependencies, missing) : [];
    created.push(...inserted);
    pending = without(missing, inserted);
  }
  const createdById = byId(created);
  const knownById = byId(known);
  return entries.map((entry) => {
    const { requestId } = entry;
    const stored = createdById.get(requestId) ?? knownById.get(requestId);
    if (stored === undefined) throw new Error("an entry was neither created nor found");
    return { stored, isNew: createdById.has(requestId) && first.get(requestId) === entry };
  });
}

/** @returns the created entries, in the same order */
async function create(
  { pool, changes }: RecordDependencies,
  entries: readonly NewEntry[],
): Promise<readonly StoredEntry[]> {
  const watches = changes.watched.filterWatched(entries.map(({ userId }) => userId));
  const created = await retryOnContention(() => insertEntries(pool, entries, watches));
  changes.notifyCreated(created, watches);
  return created;
}

/** @returns the entries that are stored under these request_ids */
async function find(
  { pool, changes }: RecordDependencies,
  entries: readonly NewEntry[],
): Promise<readonly StoredEntry[]> {
  const found = await findEntries(
    pool,
    entries.map(({ requestId }) => requestId),
  );
  // Another instance may have recorded these entries, and its notification may not have arrived yet.
  notify(changes, found);
  return found;
}

function notify(changes: LearnerChanges, entries: readonly StoredEntry[]): void {
  for (const { userId, timestamp } of entries) changes.notify(userId, { from: timestamp, to: timestamp });
}

/** @param stored some of the entries, as they are stored under their request_ids */
function without(entries: readonly NewEntry[], stored: readonly StoredEntry[]): readonly NewEntry[] {
  if (stored.length === entries.length) return [];
  const storedIds = new Set(stored.map(({ requestId }) => requestId));
  return entries.filter(({ requestId }) => !storedIds.has(requestId));
}

function byId(entries: readonly StoredEntry[]): ReadonlyMap<string, StoredEntry> {
  return new Map(entries.map((entry) => [entry.requestId, entry]));
}
