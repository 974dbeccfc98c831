import { setTimeout as sleep } from "node:timers/promises";

/**
 * The time reserved for one message, in milliseconds: about four times what it costs this process. So messages to
 * watchers take at most a quarter of the process.
 */
const msPerMessage = 0.2;

/**
 * Limits an instance to 5,000 messages to watchers a second. If there are more, each watcher gets messages less often, with
 * more changes in each.
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
