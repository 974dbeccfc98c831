import { lockedTooLong, lockRetryMs } from "../database/lock-retry.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { blockedConnections, type WritePools } from "../database/pools.ts";
import { overloaded } from "../errors/retryable.ts";
import { findLockedLearners } from "./sql/find-locks.ts";
import type { GroupOutcome, WaitingEntry } from "./write-group.ts";

/** The maximum number of suspects (see {@link BlockedLearners}) that are first tried together in one statement. */
const suspectsPerStatement = 16;

/** The pause after a learner's statement met a lock, before the learner is queued again, in milliseconds. */
const pauseMs = 100;

/** The interval, in milliseconds, at which expired entries are rejected and released locks are detected. */
const sweepMs = 250;

/** A learner whose entries met a lock, or may meet one. */
interface BlockedLearner {
  readonly userId: string;
  /** Whether to try this learner alone, because a statement that it shared with others met a lock. */
  isTriedAlone: boolean;
  /** `endsAt` is in milliseconds of `performance.now()`. */
  waiting: { readonly call: WaitingEntry; readonly endsAt: number }[];
}

interface BlockedLearnersOptions {
  readonly pools: WritePools;
  readonly write: (pool: ConnectionPool, group: readonly WaitingEntry[]) => Promise<GroupOutcome>;
  readonly maxStatementRows: number;
  /** The maximum number of entries held here, waiting or in flight. */
  readonly maxRows: number;
}

/**
 * The learners whose entries met the lock of another transaction. Separate statements write their entries, so that they
 * do not delay the entries of other learners. New entries of these learners wait here, too.
 *
 *     suspect ──its turn──> tried with a few others ──written──> removed
 *                            └──the statement meets a lock──> tried alone ──written──> removed
 *                                                                  └──it meets a lock──> pausing
 *     pausing ──pauseMs have passed──> blocked
 *     blocked ──its turn──> waits for the lock in the database ──written──> removed
 *        │                                 └──the lock timeout passes──> pausing
 *        └──its rows are no longer locked──> suspect
 *     every entry: lockRetryMs have passed ──> rejected with RESOURCE_EXHAUSTED
 *
 * After a write, a learner with more waiting entries becomes a suspect again instead of being removed.
 *
 * A suspect's statement waits only briefly for a lock, so that learners who are not blocked are detected quickly. A
 * blocked learner's statement waits longer, so that it succeeds as soon as the lock is released. While blocked learners
 * wait for their turn, those whose rows are no longer locked become suspects.
 */
export class BlockedLearners {
  readonly #options: BlockedLearnersOptions;
  readonly #learners = new Map<string, BlockedLearner>();
  /** For each user_id, the number of batches that wait for a lock on the learner's rows. */
  readonly #batchCounts = new Map<string, number>();
  /** The queue of learners whose rows may be locked. */
  readonly #suspects = new Set<BlockedLearner>();
  /** The queue of learners whose rows are locked. */
  readonly #blocked = new Set<BlockedLearner>();
  #suspectStatements = 0;
  #blockedStatements = 0;
  #rows = 0;
  /** Whether a check for released locks is in flight. */
  #isChecking = false;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: BlockedLearnersOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#learners.size === 0 && this.#batchCounts.size === 0;
  }

  has(userId: string): boolean {
    return this.#learners.has(userId) || this.#batchCounts.has(userId);
  }

  /** Adds entries of learners whose rows another transaction is known to lock. */
  addBlocked(calls: readonly WaitingEntry[]): void {
    this.#add(calls, this.#blocked);
  }

  /** Adds entries of learners whose rows may be locked. */
  addSuspects(calls: readonly WaitingEntry[]): void {
    this.#add(calls, this.#suspects);
  }

  /**
   * Registers a batch that waits for a lock on these learners' rows.
   *
   * @returns a function that ends the registration; call it once
   */
  addBatch(userIds: ReadonlySet<string>): () => void {
    for (const userId of userIds) this.#batchCounts.set(userId, (this.#batchCounts.get(userId) ?? 0) + 1);
    return () => {
      for (const userId of userIds) {
        const batches = (this.#batchCounts.get(userId) ?? 0) - 1;
        if (batches > 0) this.#batchCounts.set(userId, batches);
        else this.#batchCounts.delete(userId);
      }
    };
  }

  /** Rejects every waiting call, except those whose entries are in flight. */
  rejectAll(error: unknown): void {
    for (const learner of this.#learners.values()) {
      for (const { call } of learner.waiting) call.reject(error);
      this.#rows -= learner.waiting.length;
      learner.waiting = [];
    }
  }

  #add(calls: readonly WaitingEntry[], queue: Set<BlockedLearner>): void {
    const endsAt = performance.now() + lockRetryMs;
    for (const call of calls) {
      if (this.#rows >= this.#options.maxRows) {
        call.reject(overloaded("too many entries wait for locks in the database"));
        continue;
      }
      this.#rows += 1;
      const { userId } = call.entry;
      let learner = this.#learners.get(userId);
      if (learner === undefined) {
        learner = { userId, isTriedAlone: false, waiting: [] };
        this.#learners.set(userId, learner);
        queue.add(learner);
      }
      learner.waiting.push({ call, endsAt });
    }
    this.#sweeper ??= setInterval(() => this.#sweep(), sweepMs).unref();
    this.#run();
  }

  /** Starts statements until the maximum is in flight or no learner is queued. */
  #run(): void {
    const { blocked, suspects } = this.#options.pools;
    while (this.#blockedStatements < blockedConnections && this.#blocked.size > 0) {
      this.#blockedStatements += 1;
      void this.#try(take(this.#blocked, 1), blocked).then(() => {
        this.#blockedStatements -= 1;
        this.#run();
      });
    }
    while (this.#suspectStatements < blockedConnections && this.#suspects.size > 0) {
      this.#suspectStatements += 1;
      void this.#try(this.#takeSuspects(), suspects).then(() => {
        this.#suspectStatements -= 1;
        this.#run();
      });
    }
  }

  /** Dequeues the suspects for one statement: several that can be tried together, or one that is tried alone. */
  #takeSuspects(): BlockedLearner[] {
    const together = this.#suspects.values().filter(({ isTriedAlone }) => !isTriedAlone);
    const learners = together.take(suspectsPerStatement).toArray();
    if (learners.length === 0) return take(this.#suspects, 1);
    for (const learner of learners) this.#suspects.delete(learner);
    return learners;
  }

  /** Writes waiting entries of these learners, and queues the learners again if necessary. Never throws. */
  async #try(learners: readonly BlockedLearner[], pool: ConnectionPool): Promise<void> {
    const rows = Math.ceil(this.#options.maxStatementRows / learners.length);
    const tried = learners.flatMap((learner) => {
      this.#dropExpired(learner);
      return learner.waiting.splice(0, rows);
    });
    const { locked, unanswered }: GroupOutcome =
      tried.length > 0
        ? await this.#options.write(
            pool,
            tried.map(({ call }) => call),
          )
        : { locked: [] };
    const lockedCalls = new Set(locked);
    this.#rows -= tried.length - locked.length;
    for (const learner of learners) {
      const { userId } = learner;
      const stillLocked = tried.filter(({ call }) => call.entry.userId === userId && lockedCalls.has(call));
      learner.waiting.unshift(...stillLocked);
      this.#dropExpired(learner);
      if (learner.waiting.length === 0) this.#remove(learner);
      else if (stillLocked.length === 0) this.#suspects.add(learner);
      else if (learners.length > 1) this.#suspects.add(Object.assign(learner, { isTriedAlone: true }));
      else this.#pause(learner);
    }
    if (unanswered !== undefined) this.rejectAll(unanswered);
  }

  #pause(learner: BlockedLearner): void {
    setTimeout(() => {
      this.#blocked.add(learner);
      this.#run();
    }, pauseMs).unref();
  }

  #remove({ userId }: BlockedLearner): void {
    this.#learners.delete(userId);
    if (this.#learners.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #sweep(): void {
    for (const learner of this.#learners.values()) this.#dropExpired(learner);
    if (this.#blocked.size > 0 && !this.#isChecking) void this.#recheckBlocked();
  }

  /**
   * Moves queued blocked learners to the suspects: those for whom {@link findLockedLearners} sees no lock on the
   * aggregate row of the first waiting entry.
   */
  async #recheckBlocked(): Promise<void> {
    this.#isChecking = true;
    const learners = [...this.#blocked].slice(0, this.#options.maxStatementRows);
    const entries = learners.flatMap(({ waiting }) => waiting.slice(0, 1)).map(({ call }) => call.entry);
    try {
      const locked = await findLockedLearners(this.#options.pools.suspects, entries);
      for (const learner of learners) {
        if (!locked.has(learner.userId) && this.#blocked.delete(learner)) this.#suspects.add(learner);
      }
    } catch {
      // The learners stay queued, so they are tried anyway.
    } finally {
      this.#isChecking = false;
    }
    this.#run();
  }

  /** Rejects the entries that waited too long, and removes those whose callers cancelled. */
  #dropExpired(learner: BlockedLearner): void {
    const now = performance.now();
    const remaining = learner.waiting.filter(({ call, endsAt }) => {
      if (now > endsAt) call.reject(lockedTooLong());
      return now <= endsAt && !call.isWithdrawn;
    });
    this.#rows -= learner.waiting.length - remaining.length;
    learner.waiting = remaining;
  }
}

/** Removes the first `count` learners from the set and returns them. */
function take(learners: Set<BlockedLearner>, count: number): BlockedLearner[] {
  const taken = learners.values().take(count).toArray();
  for (const learner of taken) learners.delete(learner);
  return taken;
}
