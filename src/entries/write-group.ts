import type { LearnerChanges } from "../changes/learner-changes.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { isUnanswered } from "../database/query.ts";
import { isLocked, isRowError } from "../database/sqlstate.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { type RecordResult, recordEntries } from "./record-entries.ts";

/** A pending call, which waits until its entry is written. */
export interface WaitingEntry {
  readonly entry: NewEntry;
  readonly resolve: (result: RecordResult) => void;
  readonly reject: (reason: unknown) => void;
  /** Whether the caller has cancelled. */
  isWithdrawn: boolean;
}

/** The outcome of writing a group. */
export interface GroupOutcome {
  /** The calls that met a lock and are still pending. All others are completed. */
  readonly locked: readonly WaitingEntry[];
  /** If the database did not respond, the error with which the calls were rejected. */
  readonly unanswered?: unknown;
}

export interface WriteGroupDependencies {
  readonly changes: LearnerChanges;
  readonly recent: RecentEntries;
}

/** Writes a group in one statement, and completes every call except those that met a lock. Never throws. */
export async function writeGroup(
  dependencies: WriteGroupDependencies,
  pool: ConnectionPool,
  group: readonly WaitingEntry[],
): Promise<GroupOutcome> {
  const { changes, recent } = dependencies;
  const created: StoredEntry[] = [];
  const { epoch } = recent;
  try {
    const results = await recordEntries(
      { pool, changes },
      group.map(({ entry }) => entry),
      created,
    );
    recent.add(
      results.map(({ stored }) => stored),
      epoch,
    );
    for (const [index, result] of results.entries()) group[index]?.resolve(result);
    return { locked: [] };
  } catch (error) {
    if (isLocked(error)) return { locked: resolveCreated(group, created) };
    if (group.length > 1 && isRowError(error)) {
      // Halving isolates the row that the database rejects, so that the other rows are written.
      const middle = Math.ceil(group.length / 2);
      const first = await writeGroup(dependencies, pool, group.slice(0, middle));
      const second = await writeGroup(dependencies, pool, group.slice(middle));
      return {
        locked: [...first.locked, ...second.locked],
        unanswered: first.unanswered ?? second.unanswered,
      };
    }
    for (const { reject } of group) reject(error);
    return isUnanswered(error) ? { locked: [], unanswered: error } : { locked: [] };
  }
}

/**
 * Completes the calls whose entries were created.
 *
 * @returns the calls whose entries were not created, without the cancelled ones
 */
function resolveCreated(group: readonly WaitingEntry[], created: readonly StoredEntry[]): WaitingEntry[] {
  const createdById = new Map(created.map((stored) => [stored.requestId, stored]));
  return group.filter(({ entry: { requestId }, resolve, isWithdrawn }) => {
    const stored = createdById.get(requestId);
    if (stored === undefined) return !isWithdrawn;
    resolve({ stored, isNew: true });
    // If several entries have the same request_id, only the first one was created.
    createdById.delete(requestId);
    return false;
  });
}
