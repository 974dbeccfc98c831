import type { Clock } from "../clock.ts";
import type { Heartbeat, Notifications } from "../database/notifications.ts";
import type { LearnerKey } from "./learner-key.ts";

/**
 * The channel. A payload is a list of learner keys, separated by commas; or `?` and the database's clock in microseconds,
 * to which everyone answers with a list.
 */
export const watchesChannel = "daily_aggregator_watches";

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

/** Those whom this instance watches. */
export interface OwnWatches {
  has(learner: LearnerKey): boolean;
  learners(): readonly LearnerKey[];
  /** Anything of the learner may have changed. */
  gap(learner: LearnerKey): void;
}

/** A message that was sent. */
interface Notice {
  readonly learners: readonly LearnerKey[];
  /** In milliseconds of the {@link Clock}. */
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
 * Tells the other instances whom this one watches, and finds out when no write can be missed any more.
 *
 * A watch must not miss a write whose instance looked before it was told, however long that write takes:
 *
 * 1. After the message of the watch was committed, a heartbeat reads the database's clock: n.
 * 2. The write carries the clock h of the last heartbeat that its instance got back before it looked. If h >= n, that
 *    heartbeat began after the message was committed, so the instance had the message. If not, h < n.
 * 3. The write is announced unless its transaction had its id by h + 1 s, and so before n + 1 s.
 * 4. Once every transaction that had its id by n + 1 s has ended, the watcher reads everything again (a gap).
 *
 * The same happens after a message that came so late that others may have forgotten this instance's watches, or may
 * have ceased to wait for its answer.
 */
export class WatchNotices {
  readonly #notifications: Notifications;
  readonly #own: OwnWatches;
  readonly #clock: Clock;
  /** How late a repetition may be, in microseconds. */
  readonly #punctualMicros: bigint;
  readonly #untold = new Set<LearnerKey>();
  #mustRepeat = false;
  #mustAsk = false;
  #isTelling = false;
  /** A clock of the database before the last repetition; undefined if others may have missed that. */
  #repeatedAt: bigint | undefined;
  /** The clock of the first question that the next repetition answers. */
  #askedAt: bigint | undefined;
  /** What was sent since the last heartbeat. */
  #notices: Notice[] = [];
  /** Learners of whom a write may have been missed. */
  readonly #unsettled = new Map<LearnerKey, Unsettled>();
  /** The clock by which all answers to this instance's question must have arrived. */
  #completeAt: bigint | undefined;

  /** @param punctualMs within which time a repetition must follow the one before */
  constructor(notifications: Notifications, own: OwnWatches, punctualMs: number, clock: Clock) {
    this.#notifications = notifications;
    this.#own = own;
    this.#clock = clock;
    this.#punctualMicros = BigInt(punctualMs) * 1_000n;
    notifications.followHeartbeats((heartbeat) => this.#settle(heartbeat));
  }

  /** The clock from which on this instance knows of everyone who is watched; undefined if it is not known yet. */
  get completeAt(): bigint | undefined {
    return this.#completeAt;
  }

  /** There will be a gap for the learner once nothing can come unannounced any more. */
  begin(learner: LearnerKey): void {
    this.#untold.add(learner);
    void this.#tell();
  }

  end(learner: LearnerKey): void {
    this.#untold.delete(learner);
    this.#unsettled.delete(learner);
  }

  repeat(): void {
    this.#mustRepeat = true;
    void this.#tell();
  }

  /** @param askedAt the clock of the database when an instance asked */
  answer(askedAt: bigint): void {
    if (this.#askedAt === undefined || askedAt < this.#askedAt) this.#askedAt = askedAt;
    this.repeat();
  }

  /** Messages may have been missed, the others' here and this instance's there. */
  startOver(): void {
    this.#completeAt = undefined;
    this.#repeatedAt = undefined;
    this.#notices = [];
    this.#unsettled.clear();
    this.#mustRepeat = true;
    this.#mustAsk = true;
  }

  /** Sends what is to be sent. Never throws: what fails is tried again after the next heartbeat. */
  async #tell(): Promise<void> {
    if (this.#isTelling) return;
    this.#isTelling = true;
    try {
      for (;;) {
        const now = this.#notifications.heardUntil;
        if (now === undefined) break;
        if (this.#mustAsk) await this.#ask(now);
        else if (this.#mustRepeat) await this.#tellAll(now);
        else if (this.#untold.size > 0) await this.#tellNew();
        else break;
      }
    } catch {
      // The connection is gone, which is in the log; its successor starts over.
    } finally {
      this.#isTelling = false;
    }
  }

  async #ask(now: bigint): Promise<void> {
    this.#mustAsk = false;
    await this.#notifications.send(watchesChannel, [`?${now}`]).catch((error) => {
      this.#mustAsk = true;
      throw error;
    });
    // Whoever answers later than that reads everything again.
    if (!this.#mustAsk) this.#completeAt = now + answerMicros;
  }

  async #tellAll(now: bigint): Promise<void> {
    let punctualUntil = this.#repeatedAt === undefined ? now : this.#repeatedAt + this.#punctualMicros;
    if (this.#askedAt !== undefined && this.#askedAt + answerMicros < punctualUntil) {
      punctualUntil = this.#askedAt + answerMicros;
    }
    this.#mustRepeat = false;
    this.#askedAt = undefined;
    // Until it is known to have been sent.
    this.#repeatedAt = undefined;
    await this.#send(this.#own.learners(), punctualUntil).catch((error) => {
      this.#mustRepeat = true;
      throw error;
    });
    // If there was a gap meanwhile, this does not count.
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

  async #send(learners: readonly LearnerKey[], punctualUntil: bigint | undefined): Promise<void> {
    const payloads: string[] = [];
    for (let start = 0; start < learners.length; start += keysPerNotification) {
      payloads.push(learners.slice(start, start + keysPerNotification).join(","));
    }
    if (payloads.length > 0) await this.#notifications.send(watchesChannel, payloads);
    this.#notices.push({ learners, committedBy: this.#clock.now(), punctualUntil });
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
      this.#own.gap(learner);
    }
    void this.#tell();
  }

  #unsettle(learner: LearnerKey, clock: bigint): void {
    if (!this.#own.has(learner)) return;
    // The first one keeps its time, or messages in quick succession would postpone it without end.
    const first = this.#unsettled.get(learner)?.clock ?? clock;
    this.#unsettled.set(learner, { clock: first, latest: clock });
  }
}
