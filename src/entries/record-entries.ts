import type pg from "pg";
import { retryOnContention } from "../database/contention.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { findEntries } from "./sql/find-entries.ts";
import { insertEntries } from "./sql/insert-entries.ts";

/** What became of an entry that was to be recorded. */
export interface Recording {
  /** What is stored under its request_id. */
  readonly stored: StoredEntry;
  /** It was not known before. */
  readonly isNew: boolean;
}

/**
 * Records entries, all of them or, on any error, none. Of several with one request_id the first is recorded.
 *
 * @returns one for each entry, in the same order
 * @throws as `query` does
 */
export async function recordEntries(
  pool: pg.Pool,
  recent: RecentEntries,
  entries: readonly NewEntry[],
): Promise<Recording[]> {
  const first = new Map<string, NewEntry>();
  for (const entry of entries) {
    if (!first.has(entry.requestId)) first.set(entry.requestId, entry);
  }
  const { created, known } = await createOrFind(pool, recent, first);
  return entries.map((entry) => {
    const stored = created.get(entry.requestId) ?? known.get(entry.requestId);
    if (stored === undefined) throw new Error("an entry was neither created nor found");
    return { stored, isNew: created.has(entry.requestId) && first.get(entry.requestId) === entry };
  });
}

type EntriesById = Map<string, StoredEntry>;

/** @param entries by request_id */
async function createOrFind(
  pool: pg.Pool,
  recent: RecentEntries,
  entries: ReadonlyMap<string, NewEntry>,
): Promise<{ created: EntriesById; known: EntriesById }> {
  const created: EntriesById = new Map();
  const known: EntriesById = new Map();
  const { epoch } = recent;
  let open = [...entries.values()];
  while (open.length > 0) {
    for (const entry of await retryOnContention(() => insertEntries(pool, open))) {
      created.set(entry.requestId, entry);
    }
    // A second statement, for the first cannot see what another transaction committed while it ran.
    const missing = open.filter(({ requestId }) => !created.has(requestId));
    if (missing.length > 0) {
      for (const entry of await findEntries(
        pool,
        missing.map(({ requestId }) => requestId),
      )) {
        known.set(entry.requestId, entry);
      }
    }
    // What was deleted between the two is free again.
    open = missing.filter(({ requestId }) => !known.has(requestId));
  }
  recent.add(created.values(), epoch);
  recent.add(known.values(), epoch);
  return { created, known };
}
