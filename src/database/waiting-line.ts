import { overloaded } from "../errors/retryable.ts";

export interface WaitingLineLimits {
  /** How many may be inside at once. */
  readonly maxInside: number;
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
 *     waiting ──somebody leaves──> inside ──leave()──> gone
 *        ├──the caller gives up──> gone
 *        └──maxWaitMs have passed──> refused
 */
export class WaitingLine {
  readonly #limits: WaitingLineLimits;
  #inside = 0;
  /** Each is called when it is its turn. */
  readonly #waiting = new Set<() => void>();

  constructor(limits: WaitingLineLimits) {
    this.#limits = limits;
  }

  /**
   * Resolves when the caller is inside; it must call {@link leave} then.
   *
   * @throws the signal's reason if it aborts first
   * @throws ConnectError RESOURCE_EXHAUSTED if the line is full, or the wait takes too long
   */
  async enter(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { maxInside, maxWaiting, maxWaitMs, refusal } = this.#limits;
    if (this.#inside < maxInside) {
      this.#inside += 1;
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
  leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inside -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
