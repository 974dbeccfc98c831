import { randomUUID } from "node:crypto";
import { type Clock, processClock } from "../clock.ts";
import type { Log } from "../telemetry/log.ts";
import { NotificationLink, UndeliveredError } from "./notification-link.ts";
import { SettledTime } from "./settled-time.ts";

/** Receives the messages of one channel. */
export interface Subscriber {
  /**
   * Called after the transaction that sent the message was committed.
   *
   * @throws if the payload is invalid; this counts as a gap
   */
  onMessage(payload: string): void;
  /** Messages may have been missed: nothing may be concluded from their absence any more. */
  onGap(): void;
}

/** A heartbeat that was received. Every message that was committed before it began has been delivered. */
export interface Heartbeat {
  /** When it began, before it was sent, in milliseconds of the {@link Clock}. */
  readonly began: number;
  /** The database's clock, read after it began, in microseconds since 1970. */
  readonly clock: bigint;
}

/** How long after its beginning a heartbeat is valid, in milliseconds; see {@link Notifications.isCurrent}. */
export const leaseMs = 500;

/** A safety margin, because timers may fire early, and clocks run at slightly different speeds. */
const toleranceMs = 20;

/** Settings for tests. */
interface NotificationsOptions {
  /** The time limit for each connection attempt, each statement, and the return of a heartbeat, in milliseconds. */
  readonly timeoutMs?: number;
  /** The pause between two heartbeats, in milliseconds. */
  readonly heartbeatMs?: number;
  /** The pause before the next attempt to connect, in milliseconds. */
  readonly reconnectMs?: number;
  readonly clock?: Clock;
}

/**
 * Receives the messages of channels (LISTEN and NOTIFY), and checks continuously that none is missed.
 *
 *     connecting ──listening──> unproven ──a heartbeat is received──> current, while heartbeats are received
 *         ^                        └───────────────┬─────────────────────┘
 *         └── pause <──a connection breaks, or a heartbeat is not received in time
 *          any state ──close()──> closed
 *
 * A heartbeat is a notification that this process sends to itself. The database delivers notifications in the order of
 * their commits. So when a heartbeat is received, every message that was committed before it has been received, too:
 * {@link isCurrent} relies on this. If LISTEN has no effect, as behind a connection pooler that reassigns connections
 * after each transaction, no heartbeat is received, and the state never becomes current.
 */
export class Notifications {
  readonly #databaseUrl: string;
  readonly #log: Log;
  readonly #timeoutMs: number;
  readonly #heartbeatMs: number;
  readonly #reconnectMs: number;
  readonly #clock: Clock;
  readonly #ownChannel = `daily_aggregator_${randomUUID()}`;
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #heartbeatFollowers: ((heartbeat: Heartbeat) => void)[] = [];
  readonly #gapFollowers: (() => void)[] = [];
  readonly #closed = new AbortController();
  readonly #settled = new SettledTime();
  #running: Promise<void> | undefined;
  #link: NotificationLink | undefined;
  #latest: Heartbeat | undefined;
  /** The failure that was logged last; empty after a heartbeat was received. */
  #loggedFailure = "";

  constructor(databaseUrl: string, log: Log, options: NotificationsOptions = {}) {
    const { timeoutMs = 5_000, heartbeatMs = 150, reconnectMs = 1_000, clock = processClock } = options;
    this.#databaseUrl = databaseUrl;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
    this.#heartbeatMs = heartbeatMs;
    this.#reconnectMs = reconnectMs;
    this.#clock = clock;
  }

  /**
   * Call it before {@link start}.
   *
   * @param channel has no subscriber yet
   */
  subscribe(channel: string, subscriber: Subscriber): void {
    this.#subscribers.set(channel, subscriber);
  }

  /** @param follower called after each heartbeat that was received */
  followHeartbeats(follower: (heartbeat: Heartbeat) => void): void {
    this.#heartbeatFollowers.push(follower);
  }

  /** @param follower called when notifications may have been missed, for example after a restart of the database */
  followGaps(follower: () => void): void {
    this.#gapFollowers.push(follower);
  }

  start(): void {
    this.#running = this.#run();
  }

  /**
   * Whether every message that was committed at least half a second ago has been delivered. So if a writer commits a
   * message and then waits for {@link leaseMs}, no instance relies on the message's absence any more.
   *
   * A process that was stopped for a while is not current when it continues, because the clock runs meanwhile.
   */
  isCurrent(): boolean {
    return this.#latest !== undefined && this.#clock.now() - this.#latest.began < leaseMs - toleranceMs;
  }

  /**
   * The database's clock in the last heartbeat, in microseconds since 1970: every message that was committed before
   * this time has been delivered. Undefined while not current.
   */
  get receivedUntil(): bigint | undefined {
    return this.isCurrent() ? this.#latest?.clock : undefined;
  }

  /** See {@link SettledTime.settledAt}. Valid for statements that are sent later. Undefined while not current. */
  get settledAt(): bigint | undefined {
    return this.isCurrent() ? this.#settled.settledAt : undefined;
  }

  /** @throws Error if the messages may not have been sent */
  async send(channel: string, payloads: readonly string[]): Promise<void> {
    if (this.#link === undefined) throw new Error("there is no connection for notifications");
    await this.#link.send(channel, payloads);
  }

  async close(): Promise<void> {
    this.#closed.abort();
    this.#link?.break(new Error("closed"));
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      try {
        await this.#listen();
      } catch (error) {
        if (!this.#closed.signal.aborted) this.#logFailure(error);
      }
      this.#link = undefined;
      this.#latest = undefined;
      this.#settled.reset();
      await this.#clock.sleep(this.#reconnectMs, this.#closed.signal);
    }
  }

  /** Returns when closed; throws if a connection breaks, or a heartbeat is not received in time. */
  async #listen(): Promise<void> {
    await using link = await NotificationLink.open({
      databaseUrl: this.#databaseUrl,
      ownChannel: this.#ownChannel,
      channels: [...this.#subscribers.keys()],
      deliver: (channel, payload) => this.#deliver(channel, payload),
      timeoutMs: this.#timeoutMs,
    });
    this.#link = link;
    this.#gap();
    while (!this.#closed.signal.aborted) {
      await this.#beat(link);
      await this.#clock.sleep(this.#heartbeatMs, this.#closed.signal);
    }
  }

  async #beat(link: NotificationLink): Promise<void> {
    const began = this.#clock.now();
    const sample = await link.beat();
    const isClockMonotonic = this.#settled.add(sample);
    this.#latest = { began, clock: sample.clock };
    if (!isClockMonotonic) {
      this.#log.warn("the database clock went backwards");
      this.#gap();
    }
    if (this.#loggedFailure !== "") {
      this.#log.info("notifications from the database arrive again");
      this.#loggedFailure = "";
    }
    for (const follower of this.#heartbeatFollowers) follower(this.#latest);
  }

  #gap(): void {
    for (const subscriber of this.#subscribers.values()) subscriber.onGap();
    for (const follower of this.#gapFollowers) follower();
  }

  /** Any database user can send on the channels, so an invalid payload must not break anything. */
  #deliver(channel: string, payload: string): void {
    const subscriber = this.#subscribers.get(channel);
    try {
      subscriber?.onMessage(payload);
    } catch (error) {
      this.#log.warn({ channel, error: String(error) }, "received an invalid notification");
      subscriber?.onGap();
    }
  }

  /** Logs a failure once, and not again for each attempt to reconnect. */
  #logFailure(error: unknown): void {
    const failure =
      error instanceof UndeliveredError
        ? "the database does not deliver notifications: nothing is answered from memory until it does " +
          "(a connection pooler in between must keep one connection for each client, as PgBouncer does in session mode)"
        : "lost the connection for notifications";
    if (failure === this.#loggedFailure) return;
    this.#loggedFailure = failure;
    this.#log.warn({ error: String(error) }, failure);
  }
}
