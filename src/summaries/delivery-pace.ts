import { setTimeout as sleep } from "node:timers/promises";

/**
 * How long the message to one watcher keeps others of this process from being served, in milliseconds, times about four: so
 * what watchers are told takes a quarter of the process at most.
 */
const msPerMessage = 0.2;

/**
 * Spreads what watchers are told: an instance sends 5,000 messages a second at most. If there is more to tell, each
 * watcher is told less often, of more changes at once.
 */
export class DeliveryPace {
  /** In milliseconds of `performance.now()`. */
  #freeAt = 0;

  /** Resolves when so many messages may be sent. */
  async turn(messages: number, signal: AbortSignal): Promise<void> {
    const now = performance.now();
    const at = Math.max(now, this.#freeAt);
    this.#freeAt = at + messages * msPerMessage;
    if (at > now) await sleep(at - now, undefined, { signal });
  }

  /** There was nothing to send after all. */
  giveBack(messages: number): void {
    this.#freeAt -= messages * msPerMessage;
  }
}
