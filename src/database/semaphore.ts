import { overloaded } from "../errors/retryable.ts";

export interface SemaphoreLimits {
  /** How many may be inside at once. */
  readonly permits: number;
  /** How many may wait; further ones are refused at once. */
  readonly maxWaiting: number;
  /** How long one may wait, in milliseconds. */
  readonly maxWaitMs: number;
  /** The message of the refusal, such as "too many summaries are being added up". */
  readonly refusal: string;
}

/**
 * Lets a bounded number inside at once. The others wait in the order in which they came, and every wait has an end:
 *
 *     waiting ──somebody leaves──> inside ──release()──> gone
 *        ├──the caller gives up──> gone
 *        └──maxWaitMs have passed──> refused
 */
export class Semaphore {
  readonly #limits: SemaphoreLimits;
  #acquired = 0;
  /** Each is called when it is its turn. */
  readonly #waiting = new Set<() => void>();

  constructor(limits: SemaphoreLimits) {
    this.#limits = limits;
  }

  /**
   * Resolves when the caller is inside; it must call {@link release} then.
   *
   * @throws the signal's reason if it aborts first
   * @throws ConnectError RESOURCE_EXHAUSTED if the line is full, or the wait takes too long
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
    const giveUp = (reason: unknown) => {
      this.#waiting.delete(resolve);
      reject(reason);
    };
    const abort = () => giveUp(signal?.reason);
    const timer = setTimeout(() => giveUp(overloaded(refusal)), maxWaitMs);
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.add(resolve);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Makes room for the one who has waited longest. */
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
