import { setTimeout as sleep } from "node:timers/promises";

/**
 * The time reserved for one message, in milliseconds: about four times what it costs this process. So messages to
 * watchers use at most a quarter of the time of the process.
 */
const msPerMessage = 0.2;

/**
 * Limits an instance to 5,000 messages to watchers per second. Above that rate, each watcher receives messages less
 * often, with more changes in each.
 */
export class DeliveryPace {
  /** When the time reserved so far ends, in milliseconds of `performance.now()`. */
  #freeAt = 0;

  /**
   * Reserves time for a number of messages, and resolves when they may be sent.
   *
   * @throws AbortError if the signal aborts during the wait
   */
  async reserve(messages: number, signal: AbortSignal): Promise<void> {
    const now = performance.now();
    const at = Math.max(now, this.#freeAt);
    this.#freeAt = at + messages * msPerMessage;
    if (at > now) await sleep(at - now, undefined, { signal });
  }

  /** Releases the time reserved for messages that turned out not to be needed. */
  release(messages: number): void {
    this.#freeAt -= messages * msPerMessage;
  }
}
