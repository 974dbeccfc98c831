import { LRUCache } from "lru-cache";
import type { CallContext } from "../call-context.ts";
import type { ChangeFollower, LearnerChanges } from "../changes/learner-changes.ts";
import { type LearnerKey, learnerKey } from "../changes/learner-key.ts";
import { SharedComputation } from "./shared-computation.ts";

/** The result of a computation. */
export interface Computed<Value> {
  readonly value: Value;
  /** The end of its last period, in microseconds since 1970. */
  readonly end: bigint;
}

/** A lookup in the memo, and how to compute the value if it is missing. */
export interface Question<Value> {
  readonly userId: string;
  /** Equal for equal questions, and different for all others. */
  readonly key: string;
  compute(signal: AbortSignal): Promise<Computed<Value>>;
}

/** A stored value, and the follower that deletes it when the learner's entries change. */
interface Memoized<Value> {
  readonly value: Value;
  readonly learner: LearnerKey;
  readonly follower: ChangeFollower;
}

/**
 * Memoizes values that only a late write can change, and deletes them when there is one.
 *
 * A value is stored if its last period had ended when its computation began, see
 * {@link LearnerChanges.memoizableUntil}, and if, since then, this instance has received every notification of a late
 * write, and none for that learner. It is returned as long as the same conditions hold. So it is never older than a
 * write that this instance has acknowledged, or a notification that it has received from another instance.
 *
 * Concurrent equal questions share computations. A question that arrives during a computation waits for it, and
 * returns the value that it stored. If it stored none, its statement may have run before the question arrived. In
 * that case, one more computation serves all questions that waited.
 */
export class SummaryMemo<Value> {
  hits = 0;
  misses = 0;
  /** How many values were evicted to make room for others. */
  evictions = 0;
  readonly #changes: LearnerChanges;
  readonly #values: LRUCache<string, Memoized<Value>>;
  readonly #computations = new Map<string, SharedComputation<Computed<Value>>>();

  /**
   * @param maxBytes the most memory that the keys and values may use, in bytes
   * @param sizeOf returns the memory that a value uses, in bytes
   */
  constructor(changes: LearnerChanges, maxBytes: number, sizeOf: (value: Value) => number) {
    this.#changes = changes;
    this.#values = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ value }, key) => 2 * key.length + sizeOf(value),
      dispose: ({ learner, follower }, _key, reason) => {
        if (reason === "evict") this.evictions += 1;
        changes.unfollow(learner, follower);
      },
    });
  }

  /** The approximate memory that the keys and values use, in bytes. */
  get bytes(): number {
    return this.#values.calculatedSize;
  }

  /**
   * Returns the stored value, or computes it.
   *
   * @throws any error of the computation; the reason of the caller's signal once it aborts
   */
  async answer(question: Question<Value>, context: CallContext): Promise<Value> {
    let computation = this.#computations.get(question.key);
    let found = this.#find(question.key);
    if (found === undefined && computation !== undefined) {
      await computation.settled(context.signal);
      found = this.#find(question.key);
      computation = this.#computations.get(question.key);
    }
    if (found !== undefined) {
      this.hits += 1;
      return found;
    }
    this.misses += 1;
    computation ??= this.#begin(question);
    return (await computation.share(context.signal)).value;
  }

  #find(key: string): Value | undefined {
    return this.#changes.isCurrent() ? this.#values.get(key)?.value : undefined;
  }

  #begin({ userId, key, compute }: Question<Value>): SharedComputation<Computed<Value>> {
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
          this.#store(learner, key, computed.value);
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

  #store(learner: LearnerKey, key: string, value: Value): void {
    const follower = followAny(() => this.#values.delete(key));
    this.#values.set(key, { value, learner, follower });
    // The cache does not store a value that is larger than `maxBytes`.
    if (this.#values.has(key)) this.#changes.follow(learner, follower);
  }
}

/** Creates a follower that handles all changes and gaps alike. */
function followAny(onChange: () => void): ChangeFollower {
  return { onChange, onGap: onChange };
}
