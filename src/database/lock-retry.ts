import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectError } from "@connectrpc/connect";
import { overloaded } from "../errors/retryable.ts";
import { Semaphore } from "./semaphore.ts";
import { isLocked } from "./sqlstate.ts";

/** How long a write that meets a lock is tried again, in milliseconds. */
export const lockRetryMs = 10_000;

/** What those get who meet a lock for too long. */
export function lockedTooLong(): ConnectError {
  return overloaded("another transaction in the database holds a lock on these entries");
}

interface LockRetryLimits {
  /** How many writes that met a lock may be tried again at once. */
  readonly maxRetrying: number;
  /** How many more may wait for their turn. */
  readonly maxWaiting: number;
  /** How long a write that met the lock again leaves the rows it needs to others, in milliseconds. */
  readonly pauseMs: number;
}

/**
 * Runs writes that may meet the lock of another transaction. While such a write waits in the database it holds locks of
 * its own, on the rows that it has written so far, so it gives up soon, and is tried again later:
 *
 *     tried ──it meets a lock──> waiting for a turn ──> tried again ──it meets a lock──> pausing ──> waiting for a turn
 *       └──> done                     └──lockRetryMs have passed, or the caller gave up──> failed
 *
 * Those that are tried again take turns, so that no number of them takes all connections, or holds the rows of others
 * all the time.
 */
export class LockRetry {
  readonly #turns: Semaphore;
  readonly #pauseMs: number;

  constructor({ maxRetrying, maxWaiting, pauseMs }: LockRetryLimits) {
    const refusal = "too many writes wait for locks in the database";
    this.#turns = new Semaphore({ permits: maxRetrying, maxWaiting, maxWaitMs: lockRetryMs, refusal });
    this.#pauseMs = pauseMs;
  }

  /**
   * @param attempt throws as `query` does, once the lock timeout has passed
   * @param isLikelyLocked takes a turn for the first attempt, too
   * @throws whatever else the attempt throws; the signal's reason if it aborts between two attempts
   * @throws ConnectError RESOURCE_EXHAUSTED if it meets a lock for too long
   */
  async run<Result>(
    attempt: () => Promise<Result>,
    isLikelyLocked = false,
    signal?: AbortSignal,
  ): Promise<Result> {
    if (!isLikelyLocked) {
      try {
        return await attempt();
      } catch (error) {
        if (!isLocked(error)) throw error;
      }
    }
    const timeout = AbortSignal.timeout(lockRetryMs);
    const ended = signal ? AbortSignal.any([signal, timeout]) : timeout;
    for (;;) {
      await this.#waitForTurn(ended, timeout);
      try {
        return await attempt();
      } catch (error) {
        if (!isLocked(error)) throw error;
        await sleep(this.#pauseMs, undefined, { ref: false });
      } finally {
        this.#turns.release();
      }
    }
  }

  async #waitForTurn(ended: AbortSignal, timeout: AbortSignal): Promise<void> {
    try {
      await this.#turns.acquire(ended);
    } catch (error) {
      throw error === timeout.reason ? lockedTooLong() : error;
    }
  }
}
