import type { Clock } from "../clock.ts";
import type { Heartbeat, Notifications } from "../database/notifications.ts";
import type { LearnerKey } from "./learner-key.ts";

/**
 * The channel for watches. A payload is a list or a question. A list has the keys of the learners that the sender
 * watches, separated by commas. A question is `?` and the database's clock in microseconds since 1970. Every instance
 * answers a question with its list.
 */
export const watchesChannel = "daily_aggregator_watches";

/** The most keys in a payload. Each takes 9 bytes with its comma, and a payload must be shorter than 8000 bytes. */
const keysPerNotification = 800;

/**
 * How long a write may rely on the watches that its instance knew, in seconds of the database's clock. The time counts
 * from the value that {@link Notifications.receivedUntil} had when the instance looked them up. A later write is
 * announced in any case. `insert-entries.ts` checks this in the write's transaction, after the transaction got its id.
 */
export const watchLookupValidSeconds = 1;

/**
 * {@link watchLookupValidSeconds} in microseconds, plus a margin of a quarter of a second: heartbeats do not detect
 * that the database's clock went backwards if the step is shorter than the time between two heartbeats.
 */
const settlingMicros = BigInt(watchLookupValidSeconds) * 1_000_000n + 250_000n;

/** How long a new instance waits for the answers of the others, in microseconds of the database's clock. */
const answerMicros = 1_000_000n;

/** The learners that this instance watches. */
export interface OwnWatches {
  has(learner: LearnerKey): boolean;
  learners(): readonly LearnerKey[];
  /** Notifies the learner's watchers that any entry of the learner may have changed. */
  gap(learner: LearnerKey): void;
}

/** A list of watched learners that was sent. */
interface SentList {
  readonly learners: readonly LearnerKey[];
  /** When the message was known to be committed, in milliseconds of the {@link Clock}. */
  readonly committedBy: number;
  /**
   * If the message was committed before this time of the database's clock, no write was missed: the other instances
   * had not yet let these watches expire, and an instance that had asked still waited for the answer. Undefined for new
   * watches, which the others did not know.
   */
  readonly deadline: bigint | undefined;
}

/**
 * The times n (see {@link WatchPublisher}) of the messages about a learner's watch, while it may have missed writes.
 */
interface Unsettled {
  /** The time n of the first message. */
  readonly clock: bigint;
  /** The time n of the latest message. */
  readonly latest: bigint;
}

/**
 * Publishes the learners that this instance watches to the other instances, and detects when no write can be missed
 * any more.
 *
 * Before a write, its instance looks up who is watched. If it has not received the message of a watch by then, the
 * write may remain unannounced. The watch does not miss such a write, however long the write takes:
 *
 * 1. A heartbeat of the watching instance that begins after the message was committed reads the database's clock: n.
 * 2. When the writing instance looks up who is watched, it takes h, the database's clock in the last heartbeat that
 *    it received. If h >= n, that heartbeat began after the message was committed. Notifications are delivered in the
 *    order of their commits, so the instance had received the message, too, and the write is announced. Otherwise,
 *    h < n.
 * 3. The write's transaction gets its id, and then compares the database's clock with h. If the clock is later than
 *    h + 1 s, the write is announced. So if it is not announced, its transaction got its id before n + 1 s.
 * 4. When every transaction that got its id before n + 1 s has ended, the watchers of the learner get a gap: they read
 *    everything again, and so they see the write.
 *
 * The 1 s is {@link watchLookupValidSeconds}. Step 4 uses {@link settlingMicros}, which adds a margin.
 *
 * The watchers also get a gap after a message that was committed too late: after a repetition if the other instances
 * may have let the watches expire before it, and after an answer if the instance that asked may no longer have waited
 * for it.
 */
export class WatchPublisher {
  readonly #notifications: Notifications;
  readonly #own: OwnWatches;
  readonly #clock: Clock;
  /** If repetitions are further apart, watches may have expired; in microseconds. */
  readonly #maxRepeatIntervalMicros: bigint;
  /** The learners whose watch has begun and is not published yet. */
  readonly #unpublished = new Set<LearnerKey>();
  #mustRepeat = false;
  #mustAsk = false;
  #isPublishing = false;
  /** A time of the database's clock before the last repetition was sent; undefined if others may have missed it. */
  #repeatedAt: bigint | undefined;
  /** The time in the earliest question that the next repetition answers. */
  #askedAt: bigint | undefined;
  /** The lists that were sent after the last received heartbeat had begun. */
  #sent: SentList[] = [];
  /** The learners for which writes may have been missed. */
  readonly #unsettled = new Map<LearnerKey, Unsettled>();
  /** See {@link completeAt}. */
  #completeAt: bigint | undefined;

  /** @param maxRepeatIntervalMs if repetitions are further apart, watches may have expired; in milliseconds */
  constructor(notifications: Notifications, own: OwnWatches, maxRepeatIntervalMs: number, clock: Clock) {
    this.#notifications = notifications;
    this.#own = own;
    this.#clock = clock;
    this.#maxRepeatIntervalMicros = BigInt(maxRepeatIntervalMs) * 1_000n;
    notifications.followHeartbeats((heartbeat) => this.#settle(heartbeat));
  }

  /**
   * Once a received heartbeat has read this time of the database's clock, or a later one, this instance knows all
   * watches, because all answers to its question must have arrived. In microseconds since 1970; undefined until the
   * question was sent.
   */
  get completeAt(): bigint | undefined {
    return this.#completeAt;
  }

  /** Publishes that the learner is watched. Its watchers get a gap when no further write can be missed. */
  begin(learner: LearnerKey): void {
    this.#unpublished.add(learner);
    void this.#publish();
  }

  end(learner: LearnerKey): void {
    this.#unpublished.delete(learner);
    this.#unsettled.delete(learner);
  }

  /** Publishes all watches again. */
  repeat(): void {
    this.#mustRepeat = true;
    void this.#publish();
  }

  /**
   * Answers a question with all watches.
   *
   * @param askedAt the time in the question
   */
  answer(askedAt: bigint): void {
    if (this.#askedAt === undefined || askedAt < this.#askedAt) this.#askedAt = askedAt;
    this.repeat();
  }

  /** Call it when this instance may have missed messages of the others, or they may have missed its own. */
  startOver(): void {
    this.#completeAt = undefined;
    this.#repeatedAt = undefined;
    this.#sent = [];
    this.#unsettled.clear();
    this.#mustRepeat = true;
    this.#mustAsk = true;
  }

  /** Sends all pending messages. Never throws: if one fails, it is sent again after the next heartbeat. */
  async #publish(): Promise<void> {
    if (this.#isPublishing) return;
    this.#isPublishing = true;
    try {
      for (;;) {
        const now = this.#notifications.receivedUntil;
        if (now === undefined) break;
        if (this.#mustAsk) await this.#ask(now);
        else if (this.#mustRepeat) await this.#publishAll(now);
        else if (this.#unpublished.size > 0) await this.#publishNew();
        else break;
      }
    } catch {
      // The message is still pending. If the connection broke, Notifications logs it and reconnects, and then this
      // instance starts over.
    } finally {
      this.#isPublishing = false;
    }
  }

  async #ask(now: bigint): Promise<void> {
    this.#mustAsk = false;
    await this.#notifications.send(watchesChannel, [`?${now}`]).catch((error) => {
      this.#mustAsk = true;
      throw error;
    });
    // An instance whose answer is committed later reads everything again.
    if (!this.#mustAsk) this.#completeAt = now + answerMicros;
  }

  async #publishAll(now: bigint): Promise<void> {
    let deadline = this.#repeatedAt === undefined ? now : this.#repeatedAt + this.#maxRepeatIntervalMicros;
    if (this.#askedAt !== undefined && this.#askedAt + answerMicros < deadline) {
      deadline = this.#askedAt + answerMicros;
    }
    this.#mustRepeat = false;
    this.#askedAt = undefined;
    // Unknown until the message is known to have been sent.
    this.#repeatedAt = undefined;
    await this.#send(this.#own.learners(), deadline).catch((error) => {
      this.#mustRepeat = true;
      throw error;
    });
    // If this instance started over meanwhile, the others may have missed the message.
    if (!this.#mustAsk) this.#repeatedAt = now;
  }

  async #publishNew(): Promise<void> {
    const learners = [...this.#unpublished];
    this.#unpublished.clear();
    await this.#send(learners, undefined).catch((error) => {
      for (const learner of learners) this.#unpublished.add(learner);
      throw error;
    });
  }

  async #send(learners: readonly LearnerKey[], deadline: bigint | undefined): Promise<void> {
    const payloads: string[] = [];
    for (let start = 0; start < learners.length; start += keysPerNotification) {
      payloads.push(learners.slice(start, start + keysPerNotification).join(","));
    }
    if (payloads.length > 0) await this.#notifications.send(watchesChannel, payloads);
    this.#sent.push({ learners, committedBy: this.#clock.now(), deadline });
  }

  #settle({ began, clock }: Heartbeat): void {
    for (const { learners, deadline } of this.#sent.filter(({ committedBy }) => committedBy <= began)) {
      if (deadline !== undefined && clock < deadline) continue;
      for (const learner of learners) this.#unsettle(learner, clock);
    }
    this.#sent = this.#sent.filter(({ committedBy }) => committedBy > began);

    const { settledAt = 0n } = this.#notifications;
    for (const [learner, { clock, latest }] of this.#unsettled) {
      if (settledAt < clock + settlingMicros) continue;
      if (latest > clock) this.#unsettled.set(learner, { clock: latest, latest });
      else this.#unsettled.delete(learner);
      this.#own.gap(learner);
    }
    void this.#publish();
  }

  #unsettle(learner: LearnerKey, clock: bigint): void {
    if (!this.#own.has(learner)) return;
    // The time of the first message is kept. Otherwise, messages in quick succession would postpone the gap endlessly.
    const first = this.#unsettled.get(learner)?.clock ?? clock;
    this.#unsettled.set(learner, { clock: first, latest: clock });
  }
}
