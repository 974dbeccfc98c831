import type { LearnerChanges } from "../changes/learner-changes.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { isUnanswered } from "../database/query.ts";
import { isLocked, isOfOneRow } from "../database/sqlstate.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { type RecordResult, recordEntries } from "./record-entries.ts";

/** A call that waits until its entry is written. */
export interface WaitingEntry {
  readonly entry: NewEntry;
  readonly resolve: (result: RecordResult) => void;
  readonly reject: (reason: unknown) => void;
  /** Its caller gave up. */
  isWithdrawn: boolean;
}

/** What is left to do after a group was written. */
export interface GroupOutcome {
  /** They met a lock, and wait on; all others were answered. */
  readonly locked: readonly WaitingEntry[];
  /** The error that the group was answered with, if the database gave no answer. */
  readonly unanswered?: unknown;
}

/** What writing a group works on. */
export interface WriteGroupDependencies {
  readonly changes: LearnerChanges;
  readonly recent: RecentEntries;
}

/** Writes a group in one statement, and answers every call of it, but for those that met a lock; never throws. */
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
    if (isLocked(error)) return { locked: answerCreated(group, created) };
    if (group.length > 1 && isOfOneRow(error)) {
      // Halving finds the row that is to blame, and lets its neighbours pass.
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

/** @returns those that were not created, and whose callers still wait */
function answerCreated(group: readonly WaitingEntry[], created: readonly StoredEntry[]): WaitingEntry[] {
  const createdById = new Map(created.map((stored) => [stored.requestId, stored]));
  return group.filter(({ entry: { requestId }, resolve, isWithdrawn }) => {
    const stored = createdById.get(requestId);
    if (stored === undefined) return !isWithdrawn;
    resolve({ stored, isNew: true });
    // Of several with one request_id, the first was created.
    createdById.delete(requestId);
    return false;
  });
}
