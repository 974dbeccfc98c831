import type { LearnerChanges } from "../changes/learner-changes.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { retryOnContention } from "../database/query.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import { findEntries } from "./sql/find-entries.ts";
import { insertEntries } from "./sql/insert-entries.ts";

/** What became of an entry that was to be recorded. */
export interface RecordResult {
  /** What is stored under its request_id. */
  readonly stored: StoredEntry;
  /** It was not known before. */
  readonly isNew: boolean;
}

/** What result works on. */
export interface RecordDependencies {
  readonly pool: ConnectionPool;
  readonly changes: LearnerChanges;
}

/**
 * Records entries. The first statement records all of them or, on any error, none; only if some are known already, others
 * follow. Of several with one request_id the first is recorded.
 *
 * @param created what was created so far, also if a statement fails: the same array for each attempt at these entries
 * @returns one for each entry, in the same order
 * @throws as `query` does
 */
export async function recordEntries(
  dependencies: RecordDependencies,
  entries: readonly NewEntry[],
  created: StoredEntry[] = [],
): Promise<RecordResult[]> {
  if (created.length === 0) {
    const inserted = await create(dependencies, entries);
    // As a rule all of them are new.
    if (inserted.length === entries.length) return inserted.map((stored) => ({ stored, isNew: true }));
    created.push(...inserted);
  }

  const first = new Map<string, NewEntry>();
  for (const entry of entries) {
    if (!first.has(entry.requestId)) first.set(entry.requestId, entry);
  }
  const known: StoredEntry[] = [];
  let open = without([...first.values()], created);
  while (open.length > 0) {
    // A second statement, for the first cannot see what another transaction committed while it ran.
    const found = await find(dependencies, open);
    known.push(...found);
    // What was deleted between the two is free again.
    const free = without(open, found);
    const insertedNow = free.length > 0 ? await create(dependencies, free) : [];
    created.push(...insertedNow);
    open = without(free, insertedNow);
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

/** @returns those that are new, in the same order */
async function create(
  { pool, changes }: RecordDependencies,
  entries: readonly NewEntry[],
): Promise<readonly StoredEntry[]> {
  const watches = changes.watched.filterWatched(entries.map(({ userId }) => userId));
  const created = await retryOnContention(() => insertEntries(pool, entries, watches));
  changes.announceCreated(created, watches);
  return created;
}

/** @returns what is stored under their request_ids */
async function find(
  { pool, changes }: RecordDependencies,
  entries: readonly NewEntry[],
): Promise<readonly StoredEntry[]> {
  const found = await findEntries(
    pool,
    entries.map(({ requestId }) => requestId),
  );
  // Another instance may have recorded them a moment ago, and its news be still on the way.
  announce(changes, found);
  return found;
}

function announce(changes: LearnerChanges, entries: readonly StoredEntry[]): void {
  for (const { userId, timestamp } of entries) changes.announce(userId, { from: timestamp, to: timestamp });
}

/** @param done some of them, by their request_ids */
function without(entries: readonly NewEntry[], done: readonly StoredEntry[]): readonly NewEntry[] {
  if (done.length === entries.length) return [];
  const doneIds = new Set(done.map(({ requestId }) => requestId));
  return entries.filter(({ requestId }) => !doneIds.has(requestId));
}

function byId(entries: readonly StoredEntry[]): ReadonlyMap<string, StoredEntry> {
  return new Map(entries.map((entry) => [entry.requestId, entry]));
}
