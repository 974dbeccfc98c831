import { setTimeout as sleep } from "node:timers/promises";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import type { LearningLogClient } from "./clients.ts";

const daySeconds = 86_400n;

/** A watch of the days up to tomorrow, which counts the entries that it shows. */
export class FollowedWatch {
  readonly userId: string;
  readonly #caller = new AbortController();
  readonly #entries = new Map<bigint, number>();
  readonly #ended: Promise<void>;
  #answers = 0;
  #failure: unknown;

  /** Opens a watch. Resolves when the whole summary has arrived. @param days how many days ago the summary begins */
  static async open(client: LearningLogClient, userId: string, days = 1): Promise<FollowedWatch> {
    const watch = new FollowedWatch(client, userId, days);
    while (watch.#answers === 0 && watch.#failure === undefined) await sleep(10);
    if (watch.#failure !== undefined) throw watch.#failure;
    return watch;
  }

  private constructor(client: LearningLogClient, userId: string, days: number) {
    this.userId = userId;
    this.#ended = this.#follow(client, userId, days);
  }

  /** The number of entries that the watch shows. */
  get entries(): number {
    return [...this.#entries.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Waits until the watch shows this many entries or more. @throws if it does not in time, or if it ends before */
  async waitFor(entries: number, timeoutMs: number): Promise<void> {
    for (const start = performance.now(); this.entries < entries; await sleep(10)) {
      if (this.#failure !== undefined) throw this.#failure;
      if (performance.now() - start > timeoutMs) {
        throw new Error(`a watch shows ${this.entries} of ${entries} entries after ${timeoutMs} ms`);
      }
    }
  }

  async close(): Promise<void> {
    this.#caller.abort();
    await this.#ended;
  }

  async #follow(client: LearningLogClient, userId: string, days: number): Promise<void> {
    const now = BigInt(Math.floor(Date.now() / 1000));
    const request = {
      userId,
      granularity: Granularity.DAY,
      from: { seconds: now - BigInt(days) * daySeconds },
      to: { seconds: now + daySeconds },
    };
    try {
      for await (const { periods } of client.watchSummary(request, { signal: this.#caller.signal })) {
        for (const { period, entryCount } of periods)
          this.#entries.set(period?.seconds ?? 0n, Number(entryCount));
        this.#answers += 1;
      }
      this.#failure = new Error("a watch ended");
    } catch (error) {
      this.#failure = error;
    }
  }
}
