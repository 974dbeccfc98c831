import { setTimeout as sleep } from "node:timers/promises";
import { StartupError } from "../../errors/startup-error.ts";

/** A failure that a retry usually overcomes within a short time. */
export class TransientError extends StartupError {
  /** How long to retry, in milliseconds from the first attempt. */
  readonly retryForMs: number;

  constructor(message: string, retryForMs: number) {
    super(message);
    this.retryForMs = retryForMs;
  }
}

/** How long to retry while the server starts or stops. A statement of a killed server may run for 30 more seconds. */
export const serverRetryMs = 40_000;

/**
 * Repeats the attempt while it fails with a TransientError, until the error's `retryForMs` has passed since the first
 * attempt.
 *
 * @param minRetryMs the least time to retry, for errors with a shorter `retryForMs`
 * @throws the error of the last attempt
 */
export async function retryTransient<Result>(
  attempt: () => Promise<Result>,
  minRetryMs = 0,
): Promise<Result> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      if (performance.now() > startedAt + Math.max(error.retryForMs, minRetryMs)) throw error;
      await sleep(200);
    }
  }
}
