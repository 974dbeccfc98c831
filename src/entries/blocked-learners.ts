import { lockedTooLong, lockRetryMs } from "../database/lock-retry.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { blockedConnections, type WritePools } from "../database/pools.ts";
import { overloaded } from "../errors/retryable.ts";
import { findLockedLearners } from "./sql/find-locks.ts";
import type { GroupOutcome, WaitingEntry } from "./write-group.ts";

/** How many learners who may be blocked are tried in one statement at first. */
const suspectsAtOnce = 16;

/** How long a learner whose rows are locked waits before its next turn, in milliseconds. */
const pauseMs = 100;

/** How often entries that waited too long, and learners who are free again, are looked for, in milliseconds. */
const sweepMs = 250;

/** A learner whose entries wait for a lock, or may do so. */
interface BlockedLearner {
  readonly userId: string;
  /** It was tried together with others, one of whom met a lock. */
  isTriedAlone: boolean;
  waiting: { readonly call: WaitingEntry; readonly endsAt: number }[];
}

interface BlockedLearnersOptions {
  readonly pools: WritePools;
  readonly write: (pool: ConnectionPool, group: readonly WaitingEntry[]) => Promise<GroupOutcome>;
  readonly maxStatementRows: number;
  /** How many entries may wait here. */
  readonly maxRows: number;
}

/**
 * The learners whose entries met the lock of another transaction. They are written by statements of their own, so that
 * they hold up nobody else; whatever comes for them meanwhile waits here as well.
 *
 *     suspect ──its turn──> tried with a few others ──written──> gone
 *                            └──they meet a lock──> tried alone ──written──> gone
 *                                                        └──it meets a lock──> blocked
 *     blocked ──a pause, its turn──> waits in the database ──written──> gone
 *        │                                 └──it meets the lock──> blocked
 *        └──its rows are free again──> suspect
 *     every entry: lockRetryMs have passed ──> refused with RESOURCE_EXHAUSTED
 *
 * A suspect's statement hardly waits for a lock, so that those who are not blocked are found out soon. The statement of
 * a blocked learner waits for longer, so that it passes as soon as the lock is released. If many wait for their turn,
 * those whose rows are free again become suspects.
 */
export class BlockedLearners {
  readonly #options: BlockedLearnersOptions;
  readonly #learners = new Map<string, BlockedLearner>();
  /** How many batches wait for a lock on each learner's rows. */
  readonly #ofBatches = new Map<string, number>();
  /** Whose turn it is next: those that were not tried yet, and those that met a lock. */
  readonly #suspects = new Set<BlockedLearner>();
  readonly #blocked = new Set<BlockedLearner>();
  #suspectStatements = 0;
  #blockedStatements = 0;
  #rows = 0;
  /** Whether it is being found out whose rows are free again. */
  #isLooking = false;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: BlockedLearnersOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#learners.size === 0 && this.#ofBatches.size === 0;
  }

  has(userId: string): boolean {
    return this.#learners.has(userId) || this.#ofBatches.has(userId);
  }

  /** Those whom a transaction is known to block. */
  addBlocked(calls: readonly WaitingEntry[]): void {
    this.#add(calls, this.#blocked);
  }

  /** Those who may be blocked. */
  addSuspects(calls: readonly WaitingEntry[]): void {
    this.#add(calls, this.#suspects);
  }

  /** @returns what ends it: a batch that waits for a lock on these learners' rows */
  addBatch(userIds: ReadonlySet<string>): () => void {
    for (const userId of userIds) this.#ofBatches.set(userId, (this.#ofBatches.get(userId) ?? 0) + 1);
    return () => {
      for (const userId of userIds) {
        const batches = (this.#ofBatches.get(userId) ?? 0) - 1;
        if (batches > 0) this.#ofBatches.set(userId, batches);
        else this.#ofBatches.delete(userId);
      }
    };
  }

  /** Rejects every call that waits here and is not being tried. */
  rejectAll(error: unknown): void {
    for (const learner of this.#learners.values()) {
      for (const { call } of learner.waiting) call.reject(error);
      this.#rows -= learner.waiting.length;
      learner.waiting = [];
    }
  }

  #add(calls: readonly WaitingEntry[], turn: Set<BlockedLearner>): void {
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
        turn.add(learner);
      }
      learner.waiting.push({ call, endsAt });
    }
    this.#sweeper ??= setInterval(() => this.#sweep(), sweepMs).unref();
    this.#run();
  }

  /** Starts as many statements as may be under way. */
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

  /** Those who can be tried together, or one who is tried alone. */
  #takeSuspects(): BlockedLearner[] {
    const together = this.#suspects.values().filter(({ isTriedAlone }) => !isTriedAlone);
    const learners = together.take(suspectsAtOnce).toArray();
    if (learners.length === 0) return take(this.#suspects, 1);
    for (const learner of learners) this.#suspects.delete(learner);
    return learners;
  }

  /** Never throws. */
  async #try(learners: readonly BlockedLearner[], pool: ConnectionPool): Promise<void> {
    const rows = Math.ceil(this.#options.maxStatementRows / learners.length);
    const tried = learners.flatMap((learner) => {
      this.#dropEnded(learner);
      return learner.waiting.splice(0, rows);
    });
    const { locked, unanswered }: GroupOutcome =
      tried.length > 0
        ? await this.#options.write(
            pool,
            tried.map(({ call }) => call),
          )
        : { locked: [] };
    const stillWaiting = new Set(locked);
    this.#rows -= tried.length - locked.length;
    for (const learner of learners) {
      const { userId } = learner;
      const again = tried.filter(({ call }) => call.entry.userId === userId && stillWaiting.has(call));
      learner.waiting.unshift(...again);
      this.#dropEnded(learner);
      if (learner.waiting.length === 0) this.#leave(learner);
      else if (again.length === 0) this.#suspects.add(learner);
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

  #leave({ userId }: BlockedLearner): void {
    this.#learners.delete(userId);
    if (this.#learners.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  #sweep(): void {
    for (const learner of this.#learners.values()) this.#dropEnded(learner);
    if (this.#blocked.size > 0 && !this.#isLooking) void this.#releaseFree();
  }

  /** Those who wait for a turn, and whose rows are free as far as can be seen, are tried as suspects. */
  async #releaseFree(): Promise<void> {
    this.#isLooking = true;
    const learners = [...this.#blocked].slice(0, this.#options.maxStatementRows);
    const entries = learners.flatMap(({ waiting }) => waiting.slice(0, 1)).map(({ call }) => call.entry);
    try {
      const locked = await findLockedLearners(this.#options.pools.suspects, entries);
      for (const learner of learners) {
        if (!locked.has(learner.userId) && this.#blocked.delete(learner)) this.#suspects.add(learner);
      }
    } catch {
      // Their turns will come.
    } finally {
      this.#isLooking = false;
    }
    this.#run();
  }

  /** Refuses the entries that waited too long, and forgets those whose callers gave up. */
  #dropEnded(learner: BlockedLearner): void {
    const now = performance.now();
    const goesOn = learner.waiting.filter(({ call, endsAt }) => {
      if (now > endsAt) call.reject(lockedTooLong());
      return now <= endsAt && !call.isWithdrawn;
    });
    this.#rows -= learner.waiting.length - goesOn.length;
    learner.waiting = goesOn;
  }
}

/** Takes the first ones out of the set. */
function take(learners: Set<BlockedLearner>, count: number): BlockedLearner[] {
  const taken = learners.values().take(count).toArray();
  for (const learner of taken) learners.delete(learner);
  return taken;
}
