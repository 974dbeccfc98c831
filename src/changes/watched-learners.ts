import { type Clock, processClock } from "../clock.ts";
import type { Notifications } from "../database/notifications.ts";
import { type LearnerKey, learnerKey, receivedLearnerKey } from "./learner-key.ts";
import { WatchNotices, watchesChannel } from "./watch-notices.ts";

/** How many learners are read again at once while nothing is heard of them. */
const polledAtOnce = 100;

/** What a test can set. */
interface WatchedLearnersOptions {
  /** How often an instance repeats whom it watches, in milliseconds. */
  readonly repeatMs?: number;
  /** How often learners are read again while nothing is heard of them, in milliseconds. */
  readonly pollMs?: number;
  readonly clock?: Clock;
}

/** Who watches a learner. */
export interface Watcher {
  /** Anything of the learner may have changed. */
  onGap(): void;
}

/** Who is watched, as far as an instance knows. */
export interface KnownWatches {
  /** Those of the learners in question who are watched at any instance. */
  readonly userIds: readonly string[];
  /**
   * Every watch that was told before then is among them, by the database's clock. Undefined if that is not known: then
   * everybody counts as watched.
   */
  readonly asOf: Date | undefined;
}

/** What is known of watches as long as nothing is heard. */
export const everybodyWatched: KnownWatches = { userIds: [], asOf: undefined };

/**
 * Knows which learners are watched at any instance, so that only writes of theirs are announced.
 *
 * An instance tells the others whom it begins to watch, and repeats it, for they forget. A new instance asks; until
 * every answer must have arrived, it takes everybody for watched. {@link WatchNotices} says why no write is missed.
 */
export class WatchedLearners {
  readonly #notifications: Notifications;
  readonly #notices: WatchNotices;
  readonly #own = new Map<LearnerKey, Set<Watcher>>();
  /** Until when each learner counts as watched somewhere, in milliseconds of the {@link Clock}. */
  readonly #until = new Map<LearnerKey, number>();
  /** For how long the others believe what an instance says, in milliseconds. */
  readonly #believeMs: number;
  readonly #clock: Clock;
  readonly #closed = new AbortController();

  constructor(notifications: Notifications, options: WatchedLearnersOptions = {}) {
    const { repeatMs = 10_000, pollMs = 2_000, clock = processClock } = options;
    this.#notifications = notifications;
    this.#clock = clock;
    this.#believeMs = 3 * repeatMs;
    const own = {
      has: (learner: LearnerKey) => this.#own.has(learner),
      learners: () => [...this.#own.keys()],
      gap: (learner: LearnerKey) => this.#gap(learner),
    };
    this.#notices = new WatchNotices(notifications, own, 2 * repeatMs, clock);
    void this.#every(repeatMs, () => this.#repeat());
    void this.#every(pollMs, () => this.#poll());
    notifications.subscribe(watchesChannel, {
      onMessage: (payload) => this.#receive(payload),
      onGap: () => this.#notices.startOver(),
    });
  }

  /** Looks who of the learners is watched; each comes once. */
  filterWatched(userIds: readonly string[]): KnownWatches {
    const { heardUntil } = this.#notifications;
    const { completeAt } = this.#notices;
    if (heardUntil === undefined || completeAt === undefined || heardUntil < completeAt)
      return everybodyWatched;
    const asOf = new Date(Number(heardUntil / 1000n));
    if (this.#until.size === 0) return { userIds: [], asOf };
    const watched = new Set(userIds).values().filter((userId) => this.#until.has(learnerKey(userId)));
    return { userIds: [...watched], asOf };
  }

  /** @param watcher reads what there is now, and gets a gap once nothing can come unannounced any more */
  add(learner: LearnerKey, watcher: Watcher): void {
    const watchers = this.#own.get(learner);
    if (watchers !== undefined) {
      watchers.add(watcher);
      return;
    }
    this.#own.set(learner, new Set([watcher]));
    this.#until.set(learner, Number.POSITIVE_INFINITY);
    this.#notices.begin(learner);
  }

  remove(learner: LearnerKey, watcher: Watcher): void {
    const watchers = this.#own.get(learner);
    watchers?.delete(watcher);
    if (watchers?.size !== 0) return;
    this.#own.delete(learner);
    this.#notices.end(learner);
    this.#until.set(learner, this.#clock.now() + this.#believeMs);
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
      this.#notices.answer(BigInt(payload.slice(1)));
      return;
    }
    const until = this.#clock.now() + this.#believeMs;
    for (const learner of payload.split(",").map(receivedLearnerKey)) {
      if (!this.#own.has(learner)) this.#until.set(learner, until);
    }
  }

  #repeat(): void {
    const now = this.#clock.now();
    for (const [learner, until] of this.#until) if (until < now) this.#until.delete(learner);
    this.#notices.repeat();
  }

  /** While nothing is heard, watchers read again and again: some learners at a time, in turn. */
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
