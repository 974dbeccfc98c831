import { setTimeout as sleep } from "node:timers/promises";
import { StartupError } from "../../errors/startup-error.ts";

/** A condition that usually ends by itself soon. */
export class PassingError extends StartupError {
  /** How long to wait for it to pass. */
  readonly patienceMs: number;

  constructor(message: string, patienceMs: number) {
    super(message);
    this.patienceMs = patienceMs;
  }
}

/** A server that starts, stops, or was killed: one of its statements may run for 30 seconds more. */
export const serverPatienceMs = 40_000;

/**
 * Tries again for a while as long as only a PassingError is in the way.
 *
 * @param minPatienceMs for errors that have less
 */
export async function retryPassing<Result>(
  attempt: () => Promise<Result>,
  minPatienceMs = 0,
): Promise<Result> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof PassingError)) throw error;
      if (performance.now() > startedAt + Math.max(error.patienceMs, minPatienceMs)) throw error;
      await sleep(200);
    }
  }
}
