import type { CallContext } from "../call-context.ts";
import type { LearnerChanges } from "../changes/learner-changes.ts";
import { LockRetry, lockedTooLong, lockRetryMs } from "../database/lock-retry.ts";
import type { ConnectionPool } from "../database/pool.ts";
import type { WritePools } from "../database/pools.ts";
import { isUnanswered } from "../database/query.ts";
import { isLocked } from "../database/sqlstate.ts";
import { overloaded, unavailable } from "../errors/retryable.ts";
import { BlockedLearners } from "./blocked-learners.ts";
import type { NewEntry, StoredEntry } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { type RecordResult, recordEntries } from "./record-entries.ts";
import { areTablesLocked, findLockedLearners } from "./sql/find-locks.ts";
import { type GroupOutcome, type WaitingEntry, writeGroup } from "./write-group.ts";

/** How much is written at once. */
export interface EntryWriterLimits {
  /** How many statements may be under way at once. */
  readonly maxStatements: number;
  /** How many single entries one statement takes at most. */
  readonly maxStatementRows: number;
  /** How many entries may be waiting or under way, before further ones are refused. */
  readonly maxPendingRows: number;
}

/** A statement of fewer rows takes nearly as long. */
const minShareRows = 32;

/** What the writer works on. */
export interface EntryWriterDependencies {
  readonly pools: WritePools;
  readonly changes: LearnerChanges;
  readonly recent: RecentEntries;
}

/**
 * Group commit: single entries that come while statements are under way wait together, and go to the database as one
 * statement, and one commit, as soon as one of those is done. Nobody waits while the line is idle; there is no timer.
 *
 * An entry:
 *
 *     waiting ──a statement is free──> sent ──committed──> answered
 *        │                              ├──it meets a lock──> waits among the BlockedLearners
 *        │                              └──the caller gives up──> answered so; the entry may stand
 *        ├──the caller gives up──> gone, nothing was written
 *        └──the database does not answer another group──> refused
 *
 * The writer:
 *
 *     open ──drain()──> draining: refuses new entries, writes those that wait ──> done
 */
export class EntryWriter {
  readonly #dependencies: EntryWriterDependencies;
  readonly #limits: EntryWriterLimits;
  readonly #blocked: BlockedLearners;
  /** For batches. One that waits for a lock holds the rows of many learners, so one at a time is tried again. */
  readonly #lockRetry = new LockRetry({ maxRetrying: 1, maxWaiting: 1000, pauseMs: 300 });
  readonly #waiting = new Set<WaitingEntry>();
  #statements = 0;
  /** How many single entries are under way. */
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
      // The other half stays for those whom no lock blocks.
      maxRows: Math.ceil(limits.maxPendingRows / 2),
    });
  }

  /**
   * Records one entry together with others; its failure is its own.
   *
   * @throws the reason of the caller's signal, if it is aborted before the answer
   * @throws ConnectError RESOURCE_EXHAUSTED if too many entries are pending, or if it meets a lock for too long;
   * UNAVAILABLE if the database is away
   */
  async record(entry: NewEntry, context: CallContext): Promise<RecordResult> {
    const stored = this.#dependencies.recent.get(entry.requestId);
    if (stored) return { stored, isNew: false };
    const { signal } = context;
    signal.throwIfAborted();
    this.#admit(1);

    const { promise, resolve, reject } = Promise.withResolvers<RecordResult>();
    const waiting: WaitingEntry = { entry, resolve, reject, isWithdrawn: false };
    const giveUp = () => {
      waiting.isWithdrawn = true;
      this.#waiting.delete(waiting);
      reject(signal.reason);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    this.#waiting.add(waiting);
    this.#send();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
      this.#dismiss(1);
    }
  }

  /**
   * Records a batch in a statement of its own: all of it or, on any error, nothing. It is not remembered for retries: an
   * import would push out what single calls may retry.
   *
   * @param signal aborting it ends the wait for a lock, and nothing else
   * @returns one for each entry, in the same order
   * @throws as {@link record} does
   */
  async recordBatch(entries: readonly NewEntry[], signal?: AbortSignal): Promise<RecordResult[]> {
    this.#admit(entries.length);
    const { pools, changes } = this.#dependencies;
    const created: StoredEntry[] = [];
    let forgetLearners = () => {};
    const attempt = async () => {
      try {
        return await recordEntries({ pool: pools.batches, changes }, entries, created);
      } catch (error) {
        if (isLocked(error)) {
          forgetLearners();
          forgetLearners = this.#blocked.addBatch(await this.#findLocked(pools.batches, entries));
        }
        throw error;
      }
    };
    const isLikelyLocked = !this.#blocked.isEmpty && entries.some(({ userId }) => this.#blocked.has(userId));
    try {
      return await this.#lockRetry.run(attempt, isLikelyLocked, signal);
    } finally {
      forgetLearners();
      this.#dismiss(entries.length);
    }
  }

  /** Resolves when everything that was accepted has been answered; what comes from now on is refused. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#pendingRows === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  /** @throws ConnectError if there is no room for so many entries */
  #admit(rows: number): void {
    if (this.#draining) throw unavailable("the server is shutting down");
    if (this.#pendingRows + rows > this.#limits.maxPendingRows) {
      throw overloaded("too many entries are waiting to be written");
    }
    this.#pendingRows += rows;
  }

  #dismiss(rows: number): void {
    this.#pendingRows -= rows;
    if (this.#draining && this.#pendingRows === 0) this.#drained.resolve();
  }

  /**
   * Starts as many statements as may be under way, while there is something to write. Each takes an even share: those
   * who are answered together come back together, so that a large and a small one would stay large and small.
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

  /** Takes so many from those who wait; entries of learners who are blocked go to the others of that learner. */
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

  /** Answers every call of the group, or leaves it to the blocked learners; never throws. */
  async #writeGroup(group: readonly WaitingEntry[]): Promise<void> {
    const { groups, suspects } = this.#dependencies.pools;
    const endsAt = performance.now() + lockRetryMs;
    let { locked } = await this.#write(groups, group);
    try {
      // While nobody can write, it makes no difference whom the group holds up.
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
    // Most can pass now. If not, a lock is in the way that cannot be seen.
    const outcome = await this.#write(suspects, locked);
    this.#blocked.addSuspects(outcome.locked);
  }

  /** Never throws. If the database does not answer, all waiting calls fail now, instead of after a time limit each. */
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

  /** @throws if the database does not answer */
  async #areTablesLocked(): Promise<boolean> {
    return areTablesLocked(this.#dependencies.pools.groups).catch((error) => {
      if (isUnanswered(error)) throw error;
      return false;
    });
  }

  /**
   * Nobody, if that cannot be found out: then those who are not locked pass when they are tried.
   *
   * @throws if the database does not answer
   */
  async #findLocked(pool: ConnectionPool, entries: readonly NewEntry[]): Promise<ReadonlySet<string>> {
    return findLockedLearners(pool, entries).catch((error) => {
      if (isUnanswered(error)) throw error;
      return new Set<string>();
    });
  }
}
