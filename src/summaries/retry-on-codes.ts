import { setTimeout as sleep } from "node:timers/promises";
import { type Code, ConnectError } from "@connectrpc/connect";

/** How long a watcher waits for a database that was found busy or away. */
const retryForMs = 30_000;

/** How long to leave such a database alone before it is asked again. */
const retryMs = 500;

/**
 * Asks the database again while it cannot answer.
 *
 * @param codes what is waited for to pass: that it is busy, RESOURCE_EXHAUSTED, or away, UNAVAILABLE
 * @param signal ends the wait between two attempts
 * @throws whatever else the attempt throws, and these as well when they go on for 30 seconds after the first one
 */
export async function retryOnCodes<Result>(
  codes: readonly Code[],
  attempt: () => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  // One attempt over a connection that fell silent may take longer than this, and another one must follow it.
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
