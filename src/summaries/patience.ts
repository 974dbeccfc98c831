import { setTimeout as sleep } from "node:timers/promises";
import { type Code, ConnectError } from "@connectrpc/connect";

/** How long a watcher waits for a database that is busy or away. */
const patienceMs = 30_000;

/** How long to leave such a database alone before it is asked again. */
const retryMs = 500;

/**
 * Asks the database again while it cannot answer.
 *
 * @param passing what is waited for to pass: that it is busy, RESOURCE_EXHAUSTED, or away, UNAVAILABLE
 * @param signal ends the wait between two attempts
 * @throws whatever else the attempt throws, and these as well when they go on for 30 seconds
 */
export async function patiently<Result>(
  passing: readonly Code[],
  attempt: () => Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  const giveUpAt = performance.now() + patienceMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const isPassing = error instanceof ConnectError && passing.includes(error.code);
      if (!isPassing || performance.now() > giveUpAt) throw error;
      await sleep(retryMs, undefined, { signal });
    }
  }
}
