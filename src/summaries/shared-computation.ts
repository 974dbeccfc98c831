import { orAborted } from "./or-aborted.ts";

/** A computation that one or several callers wait for; it is aborted when all of them have given up. */
export class SharedComputation<Result> {
  readonly #result: Promise<Result>;
  readonly #controller = new AbortController();
  #callers = 0;
  #isSettled = false;

  constructor(compute: (signal: AbortSignal) => Promise<Result>) {
    // In the next microtask, when the constructor's caller can name what it made.
    this.#result = Promise.resolve().then(() => compute(this.#controller.signal));
    const settle = () => {
      this.#isSettled = true;
    };
    // Whoever shares it hears of its failure; if everyone has given up, nobody needs to.
    this.#result.then(settle, settle);
  }

  /** @throws whatever the computation throws; the signal's reason once it is aborted */
  async share(signal: AbortSignal): Promise<Result> {
    this.#callers += 1;
    try {
      return await orAborted(this.#result, signal);
    } finally {
      this.#callers -= 1;
      // The reason of an abortion takes long to make, with its stack.
      if (this.#callers === 0 && !this.#isSettled) this.#controller.abort();
    }
  }

  /** Resolves when it has ended, well or not; it does not keep it going. */
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
