import { setTimeout as sleep } from "node:timers/promises";
import { isContention } from "./sqlstate.ts";

const maxAttempts = 10;
const firstPauseMs = 2;

/**
 * Runs a statement or transaction again when it lost a race against another one (a deadlock or a serialization
 * failure), after a random pause that grows from 2 ms to about a second.
 *
 * @throws whatever else it throws, or the last of ten such failures
 */
export async function retryOnContention<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!isContention(error) || attempts === maxAttempts) throw error;
      await sleep(firstPauseMs * 2 ** (attempts - 1) * (0.5 + Math.random()));
    }
  }
}
