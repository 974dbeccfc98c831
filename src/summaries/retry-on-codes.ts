import { setTimeout as sleep } from "node:timers/promises";
import { type Code, ConnectError } from "@connectrpc/connect";

/** How long a watch retries while the database is busy or unavailable, counted from the first failure. */
const retryForMs = 30_000;

/** The pause between two attempts. */
const retryMs = 500;

/**
 * Runs an attempt, and retries it while the database is busy or unavailable.
 *
 * @param codes the errors to retry: RESOURCE_EXHAUSTED if the database is busy, UNAVAILABLE if it is unavailable
 * @param signal aborts the pause between two attempts
 * @throws any other error of an attempt; an error with one of the codes if an attempt fails more than 30 seconds
 * after the first failure; AbortError if the signal aborts during a pause
 */
export async function retryOnCodes<Result>(
  codes: readonly Code[],
  attempt: () => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  // Set at the first failure, not at the start: an attempt over a connection that has stopped responding may alone
  // take longer than 30 seconds, and another attempt must follow it.
  let giveUpAt: number | undefined;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const isRetryable = error instanceof ConnectError && codes.includes(error.code);
      giveUpAt ??= performance.now() + retryForMs;
      if (!isRetryable || performance.now() > giveUpAt) throw error;
      await sleep(retryMs, undefined, { signal });
    }
  }
}
