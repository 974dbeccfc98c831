import type { Clock } from "../../src/clock.ts";

const tickMs = 5;

/** A clock that runs as fast as that of the process, until a test stops it. */
export class TestClock implements Clock {
  /** How far the clock is behind that of the process, in milliseconds; undefined while it is stopped. */
  #behindMs: number | undefined = 0;
  #stoppedAt = 0;
  readonly #sleepers = new Set<{ readonly endsAt: number; readonly wake: () => void }>();

  now(): number {
    return this.#behindMs === undefined ? this.#stoppedAt : performance.now() - this.#behindMs;
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    const sleeper = { endsAt: this.now() + ms, wake };
    this.#sleepers.add(sleeper);
    const timer = setInterval(() => this.#wakeSleepers(), tickMs).unref();
    if (signal.aborted) wake();
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    signal.removeEventListener("abort", wake);
    clearInterval(timer);
    this.#sleepers.delete(sleeper);
  }

  /** Stops the clock until {@link start}. */
  stop(): void {
    this.#stoppedAt = this.now();
    this.#behindMs = undefined;
  }

  /** Moves a stopped clock forward. */
  advance(ms: number): void {
    this.#stoppedAt += ms;
    this.#wakeSleepers();
  }

  start(): void {
    this.#behindMs ??= performance.now() - this.#stoppedAt;
  }

  #wakeSleepers(): void {
    const now = this.now();
    for (const { endsAt, wake } of this.#sleepers) if (endsAt <= now) wake();
  }
}
