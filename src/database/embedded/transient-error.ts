import { setTimeout as sleep } from "node:timers/promises";
import { StartupError } from "../../errors/startup-error.ts";

/** A condition that usually ends by itself soon. */
export class TransientError extends StartupError {
  /** How long to wait for it to pass. */
  readonly retryForMs: number;

  constructor(message: string, retryForMs: number) {
    super(message);
    this.retryForMs = retryForMs;
  }
}

/** A server that starts, stops, or was killed: one of its statements may run for 30 seconds more. */
export const serverRetryMs = 40_000;

/**
 * Tries again for a while as long as only a TransientError is in the way.
 *
 * @param minRetryMs for errors that have less
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
