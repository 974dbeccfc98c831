import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../telemetry/log.ts";
import { learnerKey } from "./learner-key.ts";
import { leaseMs, type Notifications } from "./notifications.ts";
import type { ConnectionPool } from "./pool.ts";
import { query } from "./query.ts";

/** The channel; a payload is a list of learner keys, separated by commas, or `?`, to which everyone answers. */
const watchesChannel = "daily_aggregator_watches";

/** How many keys of 8 characters fit into the 8000 bytes of a notification. */
const keysPerNotification = 800;

/**
 * Knows which learners are watched at any instance, so that only writes of theirs tell of themselves.
 *
 * An instance tells the others whom it begins to watch, and repeats it, for they forget. One that has just begun to
 * listen asks; until it must have heard the answers, it takes every learner for watched.
 */
export class WatchedLearners {
  readonly #pool: ConnectionPool;
  readonly #notifications: Notifications;
  readonly #log: Log;
  /** How many watch each learner here. */
  readonly #own = new Map<string, number>();
  /** Until when each learner counts as watched somewhere, in milliseconds of `performance.now()`. */
  readonly #until = new Map<string, number>();
  /** For how long the others believe what an instance says, in milliseconds. */
  readonly #believeMs: number;
  #completeAt = Number.POSITIVE_INFINITY;
  readonly #timer: NodeJS.Timeout;

  /** @param repeatMs how often an instance repeats whom it watches */
  constructor(pool: ConnectionPool, notifications: Notifications, log: Log, repeatMs = 10_000) {
    this.#pool = pool;
    this.#notifications = notifications;
    this.#log = log;
    this.#believeMs = 3 * repeatMs;
    this.#timer = setInterval(() => this.#repeat(), repeatMs).unref();
    notifications.subscribe(watchesChannel, {
      onMessage: (payload) => this.#receive(payload),
      onGap: () => {
        this.#completeAt = performance.now() + 2 * leaseMs;
        void this.#tell(["?"]);
      },
    });
  }

  /** Those of the learners whose changes must be told of, each once. */
  among(userIds: readonly string[]): string[] {
    if (!this.#isComplete()) return [...new Set(userIds)];
    if (this.#until.size === 0) return [];
    return [...new Set(userIds)].filter((userId) => this.#until.has(learnerKey(userId)));
  }

  /** Resolves when every write that begins from then on is told of, wherever it is made. */
  async add(learner: string): Promise<void> {
    this.#own.set(learner, (this.#own.get(learner) ?? 0) + 1);
    this.#until.set(learner, Number.POSITIVE_INFINITY);
    await this.#tell([learner]);
    await sleep(leaseMs);
  }

  remove(learner: string): void {
    const watchers = (this.#own.get(learner) ?? 0) - 1;
    if (watchers > 0) {
      this.#own.set(learner, watchers);
    } else {
      this.#own.delete(learner);
      this.#until.set(learner, performance.now() + this.#believeMs);
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #isComplete(): boolean {
    return this.#notifications.isCurrent() && performance.now() > this.#completeAt;
  }

  #receive(payload: string): void {
    if (payload === "?") {
      void this.#tell([...this.#own.keys()]);
      return;
    }
    const until = performance.now() + this.#believeMs;
    for (const learner of payload.split(",")) {
      if (!this.#own.has(learner)) this.#until.set(learner, until);
    }
  }

  #repeat(): void {
    const now = performance.now();
    for (const [learner, until] of this.#until) if (until < now) this.#until.delete(learner);
    void this.#tell([...this.#own.keys()]);
  }

  /** Never throws: it is repeated soon. */
  async #tell(keys: readonly string[]): Promise<void> {
    try {
      for (let start = 0; start < keys.length; start += keysPerNotification) {
        const payload = keys.slice(start, start + keysPerNotification).join(",");
        await query(this.#pool, { text: "SELECT pg_notify($1, $2)", values: [watchesChannel, payload] });
      }
    } catch (error) {
      this.#log.warn({ error: String(error) }, "could not tell who is watched");
    }
  }
}
