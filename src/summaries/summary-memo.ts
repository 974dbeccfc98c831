import { LRUCache } from "lru-cache";
import type { CallContext } from "../call-context.ts";
import type { ChangeFollower, LearnerChanges } from "../changes/learner-changes.ts";
import { type LearnerKey, learnerKey } from "../changes/learner-key.ts";
import { SharedComputation } from "./shared-computation.ts";

/** The result of a computation. */
export interface Computed<Summary> {
  readonly summary: Summary;
  /** The end of its last period, in microseconds since 1970. */
  readonly end: bigint;
}

/** A request for a summary, and how to compute the summary if it is not memoized. */
export interface KeyedRequest<Summary> {
  readonly userId: string;
  /** Equal for equal requests, and different for all others. */
  readonly key: string;
  compute(signal: AbortSignal): Promise<Computed<Summary>>;
}

/** A stored summary, and the follower that deletes it when the learner's entries change. */
interface Memoized<Summary> {
  readonly summary: Summary;
  readonly learner: LearnerKey;
  readonly follower: ChangeFollower;
}

/**
 * Memoizes summaries that only a late write can change, and deletes them when there is one.
 *
 * A summary is stored if its last period had ended when its computation began, see
 * {@link LearnerChanges.memoizableUntil}, and if, since then, this instance has received every notification of a late
 * write, and none for that learner. It is returned as long as the same conditions hold. So it is never older than a
 * write that this instance has acknowledged, or a notification that it has received from another instance.
 *
 * Concurrent equal requests share computations. A request that arrives during a computation waits for it, and gets the
 * summary that it stored. If it stored none, its statement may have run before the request arrived. In that case, one
 * more computation serves all requests that waited.
 */
export class SummaryMemo<Summary> {
  hits = 0;
  misses = 0;
  /** How many summaries were evicted to make room for others, or because they had grown larger than all the room. */
  evictions = 0;
  readonly #changes: LearnerChanges;
  readonly #onGrowth: (summary: Summary, listener: () => void) => void;
  readonly #memoized: LRUCache<string, Memoized<Summary>>;
  readonly #computations = new Map<string, SharedComputation<Computed<Summary>>>();

  /**
   * @param maxBytes the most memory that the keys and summaries may use, in bytes
   * @param sizeOf returns the memory that a summary uses, in bytes
   * @param onGrowth makes a summary call the listener after each growth; not needed if summaries do not grow
   */
  constructor(
    changes: LearnerChanges,
    maxBytes: number,
    sizeOf: (summary: Summary) => number,
    onGrowth: (summary: Summary, listener: () => void) => void = () => {},
  ) {
    this.#changes = changes;
    this.#onGrowth = onGrowth;
    this.#memoized = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ summary }, key) => 2 * key.length + sizeOf(summary),
      dispose: ({ learner, follower }, _key, reason) => {
        if (reason === "evict") this.evictions += 1;
        changes.unfollow(learner, follower);
      },
    });
  }

  /** The approximate memory that the keys and summaries use, in bytes. */
  get bytes(): number {
    return this.#memoized.calculatedSize;
  }

  /**
   * Returns the stored summary, or computes it.
   *
   * @throws any error of the computation; the reason of the caller's signal once it aborts
   */
  async answer(request: KeyedRequest<Summary>, context: CallContext): Promise<Summary> {
    let computation = this.#computations.get(request.key);
    let found = this.#find(request.key);
    if (found === undefined && computation !== undefined) {
      await computation.settled(context.signal);
      found = this.#find(request.key);
      computation = this.#computations.get(request.key);
    }
    if (found !== undefined) {
      this.hits += 1;
      return found;
    }
    this.misses += 1;
    computation ??= this.#begin(request);
    return (await computation.share(context.signal)).summary;
  }

  #find(key: string): Summary | undefined {
    return this.#changes.isCurrent() ? this.#memoized.get(key)?.summary : undefined;
  }

  #begin({ userId, key, compute }: KeyedRequest<Summary>): SharedComputation<Computed<Summary>> {
    const learner = learnerKey(userId);
    const memoizableUntil = this.#changes.memoizableUntil();
    let mayStore = true;
    const follower = followAny(() => {
      mayStore = false;
    });
    this.#changes.follow(learner, follower);
    const computation = new SharedComputation(async (signal) => {
      try {
        const computed = await compute(signal);
        const hasEnded = memoizableUntil !== undefined && computed.end <= memoizableUntil;
        if (hasEnded && mayStore && this.#changes.isCurrent()) {
          this.#store(learner, key, computed.summary);
        }
        return computed;
      } finally {
        this.#changes.unfollow(learner, follower);
        this.#computations.delete(key);
      }
    });
    this.#computations.set(key, computation);
    return computation;
  }

  #store(learner: LearnerKey, key: string, summary: Summary): void {
    const follower = followAny(() => this.#memoized.delete(key));
    this.#memoized.set(key, { summary, learner, follower });
    // The cache does not store a summary that is larger than `maxBytes`.
    if (!this.#memoized.has(key)) return;
    this.#changes.follow(learner, follower);
    this.#onGrowth(summary, () => this.#measureAgain(key));
  }

  /** Evicts other summaries if this one has grown too much, or this one if it has grown larger than `maxBytes`. */
  #measureAgain(key: string): void {
    const memoized = this.#memoized.peek(key);
    if (memoized === undefined) return;
    // A copy, because the cache does not measure an object again that it already has.
    this.#memoized.set(key, { ...memoized }, { noDisposeOnSet: true });
    if (!this.#memoized.has(key)) this.evictions += 1;
  }
}

/** Creates a follower that handles all changes and gaps alike. */
function followAny(onChange: () => void): ChangeFollower {
  return { onChange, onGap: onChange };
}
