import { LRUCache } from "lru-cache";
import type { CallContext } from "../call-context.ts";
import type { ChangeFollower, LearnerChanges } from "../changes/learner-changes.ts";
import { type LearnerKey, learnerKey } from "../changes/learner-key.ts";
import { SharedComputation } from "./shared-computation.ts";

/** What a computation found. */
export interface Computed<Value> {
  readonly value: Value;
  /** When its last period ends, in microseconds since 1970. */
  readonly end: bigint;
}

/** A question that a summary answers. */
export interface Question<Value> {
  readonly userId: string;
  /** The same for equal questions, and for no others. */
  readonly key: string;
  compute(signal: AbortSignal): Promise<Computed<Value>>;
}

/** A value, and who forgets it. */
interface Memoized<Value> {
  readonly value: Value;
  /** A learner key. */
  readonly learner: LearnerKey;
  readonly follower: ChangeFollower;
}

/**
 * Memoizes what only a late write can change, and forgets it when there is one.
 *
 * A value is stored if its last period had ended when its computation began (see {@link LearnerChanges.memoizableUntil}),
 * and if this instance heard of every late write from then on, and of none of that learner's. It is found while the same
 * holds. So it is never older than a write that was answered here, nor than the news from another instance.
 *
 * Equal questions that come together are computed once. Who comes while a computation is under way waits for it, and
 * takes what it stored. If it stored nothing, it may have looked before the question was asked: then one more
 * computation serves all who waited.
 */
export class SummaryMemo<Value> {
  hits = 0;
  misses = 0;
  /** How many values had to make room for others. */
  evictions = 0;
  readonly #changes: LearnerChanges;
  readonly #values: LRUCache<string, Memoized<Value>>;
  readonly #computations = new Map<string, SharedComputation<Computed<Value>>>();

  /**
   * @param maxBytes how much memory the values may take
   * @param sizeOf what a value takes, in bytes
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

  /** How much memory the values take, in bytes, or about that. */
  get bytes(): number {
    return this.#values.calculatedSize;
  }

  /** @throws whatever the computation throws; the reason of the caller's signal once it is aborted */
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
    // A value that is larger than the memo is not kept.
    if (this.#values.has(key)) this.#changes.follow(learner, follower);
  }
}

/** A follower to whom one change is as good as another. */
function followAny(onChange: () => void): ChangeFollower {
  return { onChange, onGap: onChange };
}
