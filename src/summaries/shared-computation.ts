import { orAborted } from "./or-aborted.ts";

/** A computation that several callers can wait for. It is aborted when all of them have stopped waiting. */
export class SharedComputation<Result> {
  readonly #result: Promise<Result>;
  readonly #controller = new AbortController();
  #callers = 0;
  #isSettled = false;

  constructor(compute: (signal: AbortSignal) => Promise<Result>) {
    // Starts in a microtask, so that the caller of the constructor can store the object before `compute` runs.
    this.#result = Promise.resolve().then(() => compute(this.#controller.signal));
    const settle = () => {
      this.#isSettled = true;
    };
    // Also handles a rejection, which would be unhandled if all callers had stopped waiting. The callers of `share`
    // get it in any case.
    this.#result.then(settle, settle);
  }

  /** Whether all callers have stopped waiting. The computation may still be ending, but has no result for others. */
  get isAborted(): boolean {
    return this.#controller.signal.aborted;
  }

  /**
   * Waits for the result.
   *
   * @throws any error of the computation; the signal's reason once it aborts
   */
  async share(signal: AbortSignal): Promise<Result> {
    this.#callers += 1;
    try {
      return await orAborted(this.#result, signal);
    } finally {
      this.#callers -= 1;
      // Not aborted if it has settled: creating the abort reason is expensive, because it captures a stack trace.
      if (this.#callers === 0 && !this.#isSettled) this.#controller.abort();
    }
  }

  /**
   * Resolves when the computation has succeeded or failed. Does not count as a caller, so it does not keep the
   * computation running.
   *
   * @throws the signal's reason once it aborts
   */
  async settled(signal: AbortSignal): Promise<void> {
    await orAborted(
      this.#result.then(
        () => {},
        () => {},
      ),
      signal,
    );
  }
}
