import { setTimeout as sleep } from "node:timers/promises";
import type { ConnectError } from "@connectrpc/connect";
import { overloaded } from "../errors/retryable.ts";
import { Semaphore } from "./semaphore.ts";
import { isLocked } from "./sqlstate.ts";

/** How long a write that meets locks is retried, in milliseconds. */
export const lockRetryMs = 10_000;

/** The error for a write that could not get a lock in time: RESOURCE_EXHAUSTED. */
export function lockedTooLong(): ConnectError {
  return overloaded("another transaction in the database holds a lock on these entries");
}

interface LockRetryLimits {
  /** The most writes that are retried concurrently. */
  readonly maxRetrying: number;
  /** The most writes that wait for a turn to be retried; further ones are rejected. */
  readonly maxWaiting: number;
  /** The pause after a retry that met a lock, in milliseconds. Other writes can lock the same rows meanwhile. */
  readonly pauseMs: number;
}

/**
 * Runs writes that may meet the lock of another transaction. While a write waits for a lock in the database, it keeps
 * the rows locked that it has already written. So its lock timeout is short, and it is retried later:
 *
 *     first attempt ──meets a lock──> waiting for a turn ──> retrying ──meets a lock──> pausing ──> waiting for a turn
 *       └──> done                       │                      └──> done
 *                                       └──lockRetryMs have passed, or the caller cancelled──> failed
 *
 * Only a limited number of writes is retried concurrently. So retries cannot use up all connections, or permanently
 * lock rows that other writes need.
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
   * Runs the attempt, and retries it as long as it meets locks.
   *
   * @param attempt throws as `query` does when its lock timeout expires
   * @param isLikelyLocked makes the first attempt wait for a turn, too
   * @param signal prevents further retries once it aborts; an attempt that is running is not cancelled
   * @throws any other error of the attempt; the signal's reason if it is aborted before a retry
   * @throws ConnectError RESOURCE_EXHAUSTED if the write meets locks for too long, or too many writes wait for a turn
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
