import { overloaded } from "../errors/retryable.ts";

export interface SemaphoreLimits {
  /** The most callers that may hold a permit. */
  readonly permits: number;
  /** The most callers that may wait for a permit; further ones are rejected at once. */
  readonly maxWaiting: number;
  /** How long a caller may wait, in milliseconds. */
  readonly maxWaitMs: number;
  /** The message of the error for a rejected caller, such as "too many reads are under way". */
  readonly refusal: string;
}

/**
 * Limits how many callers hold a permit at the same time. Other callers wait in the order of their arrival, for a
 * limited time:
 *
 *     waiting ──a permit is released──> acquired ──release()──> released
 *        ├──the signal aborts──> aborted
 *        └──maxWaitMs have passed──> rejected
 */
export class Semaphore {
  readonly #limits: SemaphoreLimits;
  #acquired = 0;
  /** The waiting callers, in the order of their arrival. Calling one of the functions grants a permit. */
  readonly #waiting = new Set<() => void>();

  constructor(limits: SemaphoreLimits) {
    this.#limits = limits;
  }

  /**
   * Resolves when the caller holds a permit; it must call {@link release} afterwards.
   *
   * @throws the signal's reason if it aborts first
   * @throws ConnectError RESOURCE_EXHAUSTED if the queue is full, or the wait takes too long
   */
  async acquire(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { permits, maxWaiting, maxWaitMs, refusal } = this.#limits;
    if (this.#acquired < permits) {
      this.#acquired += 1;
      return;
    }
    if (this.#waiting.size >= maxWaiting) throw overloaded(refusal);

    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const rejectWith = (reason: unknown) => {
      this.#waiting.delete(resolve);
      reject(reason);
    };
    const abort = () => rejectWith(signal?.reason);
    const timer = setTimeout(() => rejectWith(overloaded(refusal)), maxWaitMs);
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.add(resolve);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Passes the permit to the caller that has waited longest, if any. */
  release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#acquired -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
