import { learnerKey } from "./learner-key.ts";
import type { Heartbeat, Notifications } from "./notifications.ts";

/**
 * The channel. A payload is a list of learner keys, separated by commas; or `?` and the database's clock in microseconds,
 * to which everyone answers with a list.
 */
const watchesChannel = "daily_aggregator_watches";

/** How many keys of 8 characters fit into the 8000 bytes of a notification. */
const keysPerNotification = 800;

/**
 * A write need not be announced for as long as this after its instance looked who is watched, by the database's clock.
 * `insert-entries.ts` decides it in the write's own transaction, once that has its id.
 */
export const lookAtWatchesSeconds = 1;

/** The same, in microseconds, and a quarter of a second for a clock that goes back by so little that nobody notices. */
const settlingMicros = BigInt(lookAtWatchesSeconds) * 1_000_000n + 250_000n;

/** How long a new instance waits for the others' answers, by the database's clock in microseconds. */
const answerMicros = 1_000_000n;

/** How many learners are read again at once while nothing is heard of them, and how often, in milliseconds. */
const polledAtOnce = 100;
const pollMs = 2_000;

/** Who watches a learner. */
export interface Watcher {
  /** Anything of the learner may have changed. */
  onGap(): void;
}

/** Who is watched, as far as an instance knows. */
export interface KnownWatches {
  /** Those of the learners in question who are watched at any instance. */
  readonly userIds: readonly string[];
  /**
   * Every watch that began before then is among them, by the database's clock. Undefined if that is not known: then
   * everybody counts as watched.
   */
  readonly asOf: Date | undefined;
}

/** What is known of watches as long as nothing is heard. */
export const everybodyWatched: KnownWatches = { userIds: [], asOf: undefined };

/** A message of this instance that was sent. */
interface Notice {
  readonly learners: readonly string[];
  /** In milliseconds of `performance.now()`. */
  readonly committedBy: number;
  /** Until when it told nothing new, by the database's clock; undefined if it was new anyway. */
  readonly punctualUntil: bigint | undefined;
}

/** The clocks n after the first message of which writes may have been missed, and after the latest one. */
interface Unsettled {
  readonly clock: bigint;
  readonly latest: bigint;
}

/**
 * Knows which learners are watched at any instance, so that only writes of theirs are announced.
 *
 * An instance tells the others whom it begins to watch, and repeats it, for they forget. A new instance asks; until
 * every answer must have arrived, it takes everybody for watched.
 *
 * A watch must not miss a write whose instance looked before it was told, however long that write takes:
 *
 * 1. After the message of the watch was committed, a heartbeat reads the database's clock: n.
 * 2. The write carries the clock h of the last heartbeat that its instance got back before it looked. If h >= n, that
 *    heartbeat began after the message was committed, so the instance had the message. If not, h < n.
 * 3. The write is announced unless its transaction had its id by h + 1 s, and so before n + 1 s.
 * 4. Once every transaction that had its id by n + 1 s has ended, the watcher reads everything again (`onGap`).
 *
 * The same happens after a message that came so late that others may have forgotten this instance's watches, or may
 * have ceased to wait for its answer.
 */
export class WatchedLearners {
  readonly #notifications: Notifications;
  readonly #own = new Map<string, Set<Watcher>>();
  /** Until when each learner counts as watched somewhere, in milliseconds of `performance.now()`. */
  readonly #until = new Map<string, number>();
  /** For how long the others believe what an instance says, in milliseconds. */
  readonly #believeMs: number;
  /** How late a repetition may be, in microseconds. */
  readonly #punctualMicros: bigint;
  readonly #timers: readonly NodeJS.Timeout[];

  /** Own learners of whom the others have not been told yet. */
  readonly #untold = new Set<string>();
  #mustRepeat = false;
  #mustAsk = false;
  #isTelling = false;
  /** A clock of the database before the last repetition; undefined if others may have missed that. */
  #repeatedAt: bigint | undefined;
  /** The clock of the first question that the next repetition answers. */
  #askedAt: bigint | undefined;
  /** What was sent since the last heartbeat. */
  #notices: Notice[] = [];
  /** Own learners of whom a write may have been missed. */
  readonly #unsettled = new Map<string, Unsettled>();
  /** The clock by which all answers to this instance's question must have arrived. */
  #completeAt: bigint | undefined;

  /** @param repeatMs how often an instance repeats whom it watches */
  constructor(notifications: Notifications, repeatMs = 10_000) {
    this.#notifications = notifications;
    this.#believeMs = 3 * repeatMs;
    this.#punctualMicros = BigInt(2 * repeatMs) * 1_000n;
    this.#timers = [
      setInterval(() => this.#repeat(), repeatMs).unref(),
      setInterval(() => this.#poll(), pollMs).unref(),
    ];
    notifications.subscribe(watchesChannel, {
      onMessage: (payload) => this.#receive(payload),
      onGap: () => this.#startOver(),
    });
    notifications.followHeartbeats((heartbeat) => this.#settle(heartbeat));
  }

  /** Looks who of the learners is watched; each comes once. */
  among(userIds: readonly string[]): KnownWatches {
    const { heardUntil } = this.#notifications;
    if (heardUntil === undefined || this.#completeAt === undefined || heardUntil < this.#completeAt) {
      return everybodyWatched;
    }
    const asOf = new Date(Number(heardUntil / 1000n));
    if (this.#until.size === 0) return { userIds: [], asOf };
    const watched = new Set(userIds).values().filter((userId) => this.#until.has(learnerKey(userId)));
    return { userIds: [...watched], asOf };
  }

  /** @param watcher reads what there is now, and gets a gap once nothing can come unannounced any more */
  add(learner: string, watcher: Watcher): void {
    const watchers = this.#own.get(learner);
    if (watchers !== undefined) {
      watchers.add(watcher);
      return;
    }
    this.#own.set(learner, new Set([watcher]));
    this.#until.set(learner, Number.POSITIVE_INFINITY);
    this.#untold.add(learner);
    void this.#tell();
  }

  remove(learner: string, watcher: Watcher): void {
    const watchers = this.#own.get(learner);
    watchers?.delete(watcher);
    if (watchers?.size !== 0) return;
    this.#own.delete(learner);
    this.#untold.delete(learner);
    this.#unsettled.delete(learner);
    this.#until.set(learner, performance.now() + this.#believeMs);
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  #receive(payload: string): void {
    if (payload.startsWith("?")) {
      const askedAt = BigInt(payload.slice(1));
      if (this.#askedAt === undefined || askedAt < this.#askedAt) this.#askedAt = askedAt;
      this.#mustRepeat = true;
      void this.#tell();
      return;
    }
    const until = performance.now() + this.#believeMs;
    for (const learner of payload.split(",")) {
      if (!this.#own.has(learner)) this.#until.set(learner, until);
    }
  }

  /** Messages may have been missed, the others' here and this instance's there. */
  #startOver(): void {
    this.#completeAt = undefined;
    this.#repeatedAt = undefined;
    this.#notices = [];
    this.#unsettled.clear();
    this.#mustRepeat = true;
    this.#mustAsk = true;
  }

  #repeat(): void {
    const now = performance.now();
    for (const [learner, until] of this.#until) if (until < now) this.#until.delete(learner);
    this.#mustRepeat = true;
    void this.#tell();
  }

  /** Sends what is to be sent. Never throws: what fails is tried again after the next heartbeat. */
  async #tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      while (this.#notifications.heardUntil !== undefined) {
        const { heardUntil } = this.#notifications;
        if (this.#mustAsk) await this.#ask(heardUntil);
        else if (this.#mustRepeat) await this.#tellAll(heardUntil);
        else if (this.#untold.size > 0) await this.#tellNew();
        else break;
      }
    } catch {
      // The connection is gone, which is in the log; its successor starts over.
    } finally {
      this.#isTelling = false;
    }
  }

  async #ask(askedAt: bigint): Promise<void> {
    this.#mustAsk = false;
    try {
      await this.#notifications.send(watchesChannel, [`?${askedAt}`]);
    } catch (error) {
      this.#mustAsk = true;
      throw error;
    }
    // Whoever answers later than that reads everything again.
    if (!this.#mustAsk) this.#completeAt = askedAt + answerMicros;
  }

  async #tellAll(now: bigint): Promise<void> {
    let punctualUntil = this.#repeatedAt === undefined ? now : this.#repeatedAt + this.#punctualMicros;
    if (this.#askedAt !== undefined && this.#askedAt + answerMicros < punctualUntil) {
      punctualUntil = this.#askedAt + answerMicros;
    }
    this.#mustRepeat = false;
    this.#askedAt = undefined;
    // Until it is known to have been sent, and if there is a gap meanwhile.
    this.#repeatedAt = undefined;
    const learners = [...this.#own.keys()];
    await this.#send(learners, punctualUntil).catch((error) => {
      this.#mustRepeat = true;
      throw error;
    });
    if (!this.#mustAsk) this.#repeatedAt = now;
  }

  async #tellNew(): Promise<void> {
    const learners = [...this.#untold];
    this.#untold.clear();
    await this.#send(learners, undefined).catch((error) => {
      for (const learner of learners) this.#untold.add(learner);
      throw error;
    });
  }

  async #send(learners: readonly string[], punctualUntil: bigint | undefined): Promise<void> {
    const payloads: string[] = [];
    for (let start = 0; start < learners.length; start += keysPerNotification) {
      payloads.push(learners.slice(start, start + keysPerNotification).join(","));
    }
    if (payloads.length > 0) await this.#notifications.send(watchesChannel, payloads);
    this.#notices.push({ learners, committedBy: performance.now(), punctualUntil });
  }

  #settle({ began, clock }: Heartbeat): void {
    for (const { learners, punctualUntil } of this.#notices.filter(
      ({ committedBy }) => committedBy <= began,
    )) {
      if (punctualUntil !== undefined && clock < punctualUntil) continue;
      for (const learner of learners) this.#unsettle(learner, clock);
    }
    this.#notices = this.#notices.filter(({ committedBy }) => committedBy > began);

    const { settledAt = 0n } = this.#notifications;
    for (const [learner, { clock, latest }] of this.#unsettled) {
      if (settledAt < clock + settlingMicros) continue;
      if (latest > clock) this.#unsettled.set(learner, { clock: latest, latest });
      else this.#unsettled.delete(learner);
      this.#gap(learner);
    }
    void this.#tell();
  }

  #unsettle(learner: string, clock: bigint): void {
    if (!this.#own.has(learner)) return;
    // The first one keeps its time, or messages that follow each other fast would put it off for ever.
    const first = this.#unsettled.get(learner)?.clock ?? clock;
    this.#unsettled.set(learner, { clock: first, latest: clock });
  }

  /** While nothing is heard, watchers read again and again: some learners at a time, in turn. */
  #poll(): void {
    if (this.#notifications.isCurrent()) return;
    for (const learner of this.#own.keys().take(polledAtOnce).toArray()) {
      const watchers = this.#own.get(learner);
      if (watchers === undefined) continue;
      this.#own.delete(learner);
      this.#own.set(learner, watchers);
      this.#gap(learner);
    }
  }

  #gap(learner: string): void {
    for (const watcher of this.#own.get(learner) ?? []) watcher.onGap();
  }
}
