import { type CallContext, onAbort } from "../call-context.ts";
import type { LearnerChanges } from "../changes/learner-changes.ts";
import { LockRetry, lockedTooLong, lockRetryMs } from "../database/lock-retry.ts";
import type { ConnectionPool } from "../database/pool.ts";
import type { WritePools } from "../database/pools.ts";
import { isUnanswered } from "../database/query.ts";
import { isLocked } from "../database/sqlstate.ts";
import { overloaded, shuttingDown } from "../errors/retryable.ts";
import { BlockedLearners } from "./blocked-learners.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { type RecordResult, recordEntries } from "./record-entries.ts";
import { areTablesLocked, findLockedLearners } from "./sql/find-locks.ts";
import { type GroupOutcome, type WaitingEntry, writeGroup } from "./write-group.ts";

/** The limits on concurrent and pending writes. */
export interface EntryWriterLimits {
  /** The maximum number of concurrent statements for groups of single entries. */
  readonly maxStatements: number;
  /** The maximum number of single entries in one statement. */
  readonly maxStatementRows: number;
  /** The maximum number of entries waiting or in flight, batches included. Further entries are rejected. */
  readonly maxPendingRows: number;
}

/** The smallest share of rows for one statement, because a statement with fewer rows takes nearly as long. */
const minShareRows = 32;

export interface EntryWriterDependencies {
  readonly pools: WritePools;
  readonly changes: LearnerChanges;
  readonly recent: RecentEntries;
}

/**
 * Group commit: while `maxStatements` statements are in flight, new single entries wait. As soon as one of these
 * statements ends, the next one writes the waiting entries together, with one commit. While fewer statements are in
 * flight, an entry is sent at once. There is no timer.
 *
 * An entry:
 *
 *     waiting ──a statement is free──> in flight ──committed──> recorded
 *        │                                ├──the insert fails──> rejected
 *        │                                ├──it meets a lock──> waits in BlockedLearners
 *        │                                └──the caller cancels──> rejected; it may be committed all the same
 *        ├──its learner is blocked──> waits in BlockedLearners
 *        ├──the caller cancels──> rejected; nothing was written
 *        └──another group gets no response, or meets a table lock for too long──> rejected
 *
 * The writer:
 *
 *     open ──drain()──> draining: rejects new entries, writes the pending ones ──> drained
 */
export class EntryWriter {
  readonly #dependencies: EntryWriterDependencies;
  readonly #limits: EntryWriterLimits;
  readonly #blocked: BlockedLearners;
  /** Retries batches that met a lock, one at a time, because each holds locks on many learners' rows while it waits. */
  readonly #lockRetry = new LockRetry({ maxRetrying: 1, maxWaiting: 1000, pauseMs: 300 });
  readonly #waiting = new Set<WaitingEntry>();
  #statements = 0;
  /** The number of single entries in flight. */
  #sentRows = 0;
  #pendingRows = 0;
  #draining = false;
  readonly #drained = Promise.withResolvers<void>();

  constructor(dependencies: EntryWriterDependencies, limits: EntryWriterLimits) {
    this.#dependencies = dependencies;
    this.#limits = limits;
    this.#blocked = new BlockedLearners({
      pools: dependencies.pools,
      write: (pool, group) => this.#write(pool, group),
      maxStatementRows: limits.maxStatementRows,
      // Reserves the other half for entries that no lock blocks.
      maxRows: Math.ceil(limits.maxPendingRows / 2),
    });
  }

  /**
   * Records one entry, in one statement with others. If the database rejects the row of another entry, this one is
   * recorded all the same.
   *
   * @throws the reason of the abort, if the caller cancels before the entry is recorded
   * @throws ConnectError RESOURCE_EXHAUSTED if too many entries are pending, or if the entry meets a lock for too long;
   * UNAVAILABLE if the server is shutting down
   * @throws as `query` does
   */
  async record(entry: NewEntry, context: CallContext): Promise<RecordResult> {
    const stored = this.#dependencies.recent.get(entry.requestId);
    if (stored) return { stored, isNew: false };
    this.#admit(1);

    const { promise, resolve, reject } = Promise.withResolvers<RecordResult>();
    const waiting: WaitingEntry = { entry, resolve, reject, isWithdrawn: false };
    this.#waiting.add(waiting);
    onAbort(context, (reason) => {
      waiting.isWithdrawn = true;
      this.#waiting.delete(waiting);
      reject(reason);
    });
    this.#send();
    try {
      return await promise;
    } finally {
      this.#release(1);
    }
  }

  /**
   * Records a batch in a separate statement: all of it or, if the insert fails, nothing. Does not add the entries to
   * {@link RecentEntries}, because an import would evict the entries that single calls may retry.
   *
   * @param signal aborting it ends the wait for a lock, and nothing else
   * @returns one result for each entry, in the same order
   * @throws as {@link record} does
   */
  async recordBatch(entries: readonly NewEntry[], signal?: AbortSignal): Promise<RecordResult[]> {
    this.#admit(entries.length);
    const { pools, changes } = this.#dependencies;
    const created: StoredEntry[] = [];
    let removeBatch = () => {};
    const attempt = async () => {
      try {
        return await recordEntries({ pool: pools.batches, changes }, entries, created);
      } catch (error) {
        if (isLocked(error)) {
          const locked = await this.#findLocked(pools.batches, entries);
          removeBatch();
          removeBatch = this.#blocked.addBatch(locked);
        }
        throw error;
      }
    };
    const isLikelyLocked = !this.#blocked.isEmpty && entries.some(({ userId }) => this.#blocked.has(userId));
    try {
      return await this.#lockRetry.run(attempt, isLikelyLocked, signal);
    } finally {
      removeBatch();
      this.#release(entries.length);
    }
  }

  /** Rejects new entries from now on. Resolves once every accepted call has completed. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#pendingRows === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  /** @throws ConnectError UNAVAILABLE while draining; RESOURCE_EXHAUSTED if too many entries are pending */
  #admit(rows: number): void {
    if (this.#draining) throw shuttingDown();
    if (this.#pendingRows + rows > this.#limits.maxPendingRows) {
      throw overloaded("too many entries are waiting to be written");
    }
    this.#pendingRows += rows;
  }

  #release(rows: number): void {
    this.#pendingRows -= rows;
    if (this.#draining && this.#pendingRows === 0) this.#drained.resolve();
  }

  /**
   * Starts statements until the maximum is in flight or no entry is waiting. Each takes an even share of all entries
   * that are waiting or in flight. Callers that are answered together send their next entries together, so without even
   * shares a large group would stay large, and a small one small.
   */
  #send(): void {
    const { maxStatements, maxStatementRows } = this.#limits;
    while (this.#statements < maxStatements && this.#waiting.size > 0) {
      const share = Math.ceil((this.#waiting.size + this.#sentRows) / maxStatements);
      const rows = Math.min(Math.max(share, minShareRows), maxStatementRows);
      const group = this.#takeGroup(rows);
      if (group.length === 0) return;
      this.#statements += 1;
      this.#sentRows += group.length;
      void this.#writeGroup(group).then(() => {
        this.#statements -= 1;
        this.#sentRows -= group.length;
        this.#send();
      });
    }
  }

  /** Dequeues up to `rows` waiting entries. Moves entries of blocked learners to BlockedLearners instead. */
  #takeGroup(rows: number): readonly WaitingEntry[] {
    const group: WaitingEntry[] = [];
    const blocked: WaitingEntry[] = [];
    for (const waiting of this.#waiting) {
      if (group.length === rows) break;
      this.#waiting.delete(waiting);
      const isBlocked = !this.#blocked.isEmpty && this.#blocked.has(waiting.entry.userId);
      (isBlocked ? blocked : group).push(waiting);
    }
    if (blocked.length > 0) this.#blocked.addSuspects(blocked);
    return group;
  }

  /** Completes every call of the group, or delegates it to BlockedLearners. Never throws. */
  async #writeGroup(group: readonly WaitingEntry[]): Promise<void> {
    const { groups, suspects } = this.#dependencies.pools;
    const endsAt = performance.now() + lockRetryMs;
    let { locked } = await this.#write(groups, group);
    try {
      // While the tables are locked, no entry can be written, so retrying the whole group delays no other entry.
      while (locked.length > 0 && (await this.#areTablesLocked())) {
        if (performance.now() > endsAt) throw lockedTooLong();
        ({ locked } = await this.#write(groups, locked));
      }
      if (locked.length === 0) return;
      const learners = await this.#findLocked(
        groups,
        locked.map(({ entry }) => entry),
      );
      this.#blocked.addBlocked(locked.filter(({ entry }) => learners.has(entry.userId)));
      locked = locked.filter(({ entry }) => !learners.has(entry.userId));
    } catch (error) {
      for (const { reject } of locked) reject(error);
      this.#rejectWaiting(error);
      return;
    }
    if (locked.length === 0) return;
    // Most of these entries can be written now. The others meet a lock that findLockedLearners does not see.
    const outcome = await this.#write(suspects, locked);
    this.#blocked.addSuspects(outcome.locked);
  }

  /** Never throws. If the database does not respond, rejects all waiting calls now, so that none has to time out. */
  async #write(pool: ConnectionPool, group: readonly WaitingEntry[]): Promise<GroupOutcome> {
    const outcome = await writeGroup(this.#dependencies, pool, group);
    if (outcome.unanswered !== undefined) this.#rejectWaiting(outcome.unanswered);
    return outcome;
  }

  #rejectWaiting(error: unknown): void {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting.clear();
    this.#blocked.rejectAll(error);
  }

  /**
   * Returns false if the check fails.
   *
   * @throws ConnectError UNAVAILABLE if the database does not respond
   */
  async #areTablesLocked(): Promise<boolean> {
    return areTablesLocked(this.#dependencies.pools.groups).catch((error) => {
      if (isUnanswered(error)) throw error;
      return false;
    });
  }

  /**
   * Returns an empty set if the check fails: then all entries are retried, and those that are not locked succeed.
   *
   * @throws ConnectError UNAVAILABLE if the database does not respond
   */
  async #findLocked(pool: ConnectionPool, entries: readonly NewEntry[]): Promise<ReadonlySet<string>> {
    return findLockedLearners(pool, entries).catch((error) => {
      if (isUnanswered(error)) throw error;
      return new Set<string>();
    });
  }
}
