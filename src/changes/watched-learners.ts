import { type Clock, processClock } from "../clock.ts";
import type { Notifications } from "../database/notifications.ts";
import { type LearnerKey, learnerKey, receivedLearnerKey } from "./learner-key.ts";
import { WatchPublisher, watchesChannel } from "./watch-publisher.ts";

/** The most learners that are read again at a time while no notifications are received. */
const polledAtOnce = 100;

/** Settings for tests. */
interface WatchedLearnersOptions {
  /** The interval at which an instance publishes its watches again, in milliseconds. */
  readonly repeatMs?: number;
  /** The interval at which learners are read again while no notifications are received, in milliseconds. */
  readonly pollMs?: number;
  readonly clock?: Clock;
}

/** Watches one learner. */
export interface Watcher {
  /** Any entry of the learner may have changed. */
  onGap(): void;
}

/** What an instance knows about who is watched, for a given list of learners. */
export interface KnownWatches {
  /** The learners of the list that are watched at any instance. */
  readonly userIds: readonly string[];
  /**
   * Every watch that was published before this time of the database's clock is taken into account. Undefined while the
   * watches are not known: then every learner counts as watched.
   */
  readonly asOf: Date | undefined;
}

/** The value while the watches are not known: every learner counts as watched. */
export const unknownWatches: KnownWatches = { userIds: [], asOf: undefined };

/**
 * Knows which learners are watched at any instance, so that writes of other learners need not be announced.
 *
 * An instance publishes each watch when it begins, and repeats all of its watches at an interval, because the other
 * instances let them expire. A new instance asks the others, and treats every learner as watched until all answers
 * must have arrived. {@link WatchPublisher} explains why no write is missed.
 */
export class WatchedLearners {
  readonly #notifications: Notifications;
  readonly #publisher: WatchPublisher;
  readonly #own = new Map<LearnerKey, Set<Watcher>>();
  /** When each learner ceases to count as watched, in milliseconds of the {@link Clock}; never for those in `#own`. */
  readonly #expiries = new Map<LearnerKey, number>();
  /** How long after its last message a watch of another instance expires, in milliseconds. */
  readonly #expireAfterMs: number;
  readonly #clock: Clock;
  readonly #closed = new AbortController();

  constructor(notifications: Notifications, options: WatchedLearnersOptions = {}) {
    const { repeatMs = 10_000, pollMs = 2_000, clock = processClock } = options;
    this.#notifications = notifications;
    this.#clock = clock;
    this.#expireAfterMs = 3 * repeatMs;
    const own = {
      has: (learner: LearnerKey) => this.#own.has(learner),
      learners: () => [...this.#own.keys()],
      gap: (learner: LearnerKey) => this.#gap(learner),
    };
    this.#publisher = new WatchPublisher(notifications, own, 2 * repeatMs, clock);
    void this.#every(repeatMs, () => this.#repeat());
    void this.#every(pollMs, () => this.#poll());
    notifications.subscribe(watchesChannel, {
      onMessage: (payload) => this.#receive(payload),
      onGap: () => this.#publisher.startOver(),
    });
  }

  /** Finds the learners that are watched; the result has no duplicates. */
  filterWatched(userIds: readonly string[]): KnownWatches {
    const { receivedUntil } = this.#notifications;
    const { completeAt } = this.#publisher;
    if (receivedUntil === undefined || completeAt === undefined || receivedUntil < completeAt)
      return unknownWatches;
    const asOf = new Date(Number(receivedUntil / 1000n));
    if (this.#expiries.size === 0) return { userIds: [], asOf };
    const watched = new Set(userIds).values().filter((userId) => this.#expiries.has(learnerKey(userId)));
    return { userIds: [...watched], asOf };
  }

  /**
   * Call it before the watcher reads the learner's entries.
   *
   * @param watcher gets a gap when no further write can be missed, unless this is so already
   */
  add(learner: LearnerKey, watcher: Watcher): void {
    const watchers = this.#own.get(learner);
    if (watchers !== undefined) {
      watchers.add(watcher);
      return;
    }
    this.#own.set(learner, new Set([watcher]));
    this.#expiries.set(learner, Number.POSITIVE_INFINITY);
    this.#publisher.begin(learner);
  }

  remove(learner: LearnerKey, watcher: Watcher): void {
    const watchers = this.#own.get(learner);
    watchers?.delete(watcher);
    if (watchers?.size !== 0) return;
    this.#own.delete(learner);
    this.#publisher.end(learner);
    this.#expiries.set(learner, this.#clock.now() + this.#expireAfterMs);
  }

  close(): void {
    this.#closed.abort();
  }

  async #every(ms: number, task: () => void): Promise<void> {
    const { signal } = this.#closed;
    for (;;) {
      await this.#clock.sleep(ms, signal);
      if (signal.aborted) return;
      task();
    }
  }

  #receive(payload: string): void {
    if (payload.startsWith("?")) {
      this.#publisher.answer(BigInt(payload.slice(1)));
      return;
    }
    const expiry = this.#clock.now() + this.#expireAfterMs;
    for (const learner of payload.split(",").map(receivedLearnerKey)) {
      if (!this.#own.has(learner)) this.#expiries.set(learner, expiry);
    }
  }

  #repeat(): void {
    const now = this.#clock.now();
    for (const [learner, expiry] of this.#expiries) if (expiry < now) this.#expiries.delete(learner);
    this.#publisher.repeat();
  }

  /** While no notifications are received, makes the watchers of some learners at a time read again, in turn. */
  #poll(): void {
    if (this.#notifications.isCurrent()) return;
    for (const [learner, watchers] of this.#own.entries().take(polledAtOnce).toArray()) {
      this.#own.delete(learner);
      this.#own.set(learner, watchers);
      this.#gap(learner);
    }
  }

  #gap(learner: LearnerKey): void {
    for (const watcher of this.#own.get(learner) ?? []) watcher.onGap();
  }
}
