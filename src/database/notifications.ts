import { randomUUID } from "node:crypto";
import { type Clock, processClock } from "../clock.ts";
import type { Log } from "../telemetry/log.ts";
import { NotificationLink, UndeliveredError } from "./notification-link.ts";
import { SettledTime } from "./settled-time.ts";

/** Who follows a channel. */
export interface Subscriber {
  /** A transaction that sent this has been committed. To throw means that it could not be understood. */
  onMessage(payload: string): void;
  /** Messages may have been missed: whatever was concluded from their absence no longer holds. */
  onGap(): void;
}

/** A heartbeat that came back. Every message that was committed before it began has been delivered. */
export interface Heartbeat {
  /** When it began, in milliseconds of the {@link Clock}. */
  readonly began: number;
  /** The database's clock after it began, in microseconds since 1970. */
  readonly clock: bigint;
}

/** How long the knowledge of what was committed stays good; see {@link Notifications.isCurrent}. */
export const leaseMs = 500;

/** Timers may fire a little early, and no two clocks run at quite the same speed. */
const toleranceMs = 20;

/** What a test can set. */
interface NotificationsOptions {
  /** How long the database may take for anything, in milliseconds. */
  readonly timeoutMs?: number;
  /** The pause between two heartbeats, in milliseconds. */
  readonly heartbeatMs?: number;
  /** The pause before the next attempt to connect, in milliseconds. */
  readonly reconnectMs?: number;
  readonly clock?: Clock;
}

/**
 * Follows channels of LISTEN and NOTIFY, and knows whether it hears everything.
 *
 *     connecting ──listens──> unproven ──a heartbeat comes back──> current while heartbeats come back
 *         ^                      └─────────────┬─────────────────────┘
 *         └── pause <──a connection breaks, or a heartbeat does not come back
 *          any of them ──close()──> closed
 *
 * A heartbeat is a notification that this process sends to itself. The database delivers what was committed before it
 * ahead of it; this is what makes {@link isCurrent} true. Where LISTEN has no effect, as behind a pool of connections that
 * hands them on after each transaction, no heartbeat comes back, and it is never current.
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
  readonly #closed = new AbortController();
  readonly #settled = new SettledTime();
  #running: Promise<void> | undefined;
  #link: NotificationLink | undefined;
  #latest: Heartbeat | undefined;
  /** The failure that the log has, until a heartbeat comes back. */
  #saidFailure = "";

  constructor(databaseUrl: string, log: Log, options: NotificationsOptions = {}) {
    const { timeoutMs = 5_000, heartbeatMs = 150, reconnectMs = 1_000, clock = processClock } = options;
    this.#databaseUrl = databaseUrl;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
    this.#heartbeatMs = heartbeatMs;
    this.#reconnectMs = reconnectMs;
    this.#clock = clock;
  }

  /** @param channel not followed yet; to be called before {@link start} */
  subscribe(channel: string, subscriber: Subscriber): void {
    this.#subscribers.set(channel, subscriber);
  }

  /** @param follower is called after each heartbeat that came back */
  followHeartbeats(follower: (heartbeat: Heartbeat) => void): void {
    this.#heartbeatFollowers.push(follower);
  }

  start(): void {
    this.#running = this.#run();
  }

  /**
   * Whether every message that was committed half a second ago or earlier has been delivered. So who commits a
   * message, and then waits for half a second, knows that no instance acts as if it had not been sent. The clock that
   * this goes by goes on while the process is stopped.
   */
  isCurrent(): boolean {
    return this.#latest !== undefined && this.#clock.now() - this.#latest.began < leaseMs - toleranceMs;
  }

  /**
   * The database's clock in the last heartbeat, in microseconds since 1970: what was committed before then has been
   * delivered. Undefined while not current.
   */
  get heardUntil(): bigint | undefined {
    return this.isCurrent() ? this.#latest?.clock : undefined;
  }

  /** See {@link SettledTime.settledAt}. It is good for statements that are sent after it was read. */
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
        if (!this.#closed.signal.aborted) this.#sayFailure(error);
      }
      this.#link = undefined;
      this.#latest = undefined;
      this.#settled.reset();
      await this.#clock.sleep(this.#reconnectMs, this.#closed.signal);
    }
  }

  /** Returns when closed; throws when a connection breaks or a heartbeat does not come back. */
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
    const clockGoesOn = this.#settled.add(sample);
    this.#latest = { began, clock: sample.clock };
    if (!clockGoesOn) {
      this.#log.warn("the clock of the database has gone back");
      this.#gap();
    }
    if (this.#saidFailure !== "") {
      this.#log.info("notifications from the database arrive again");
      this.#saidFailure = "";
    }
    for (const follower of this.#heartbeatFollowers) follower(this.#latest);
  }

  #gap(): void {
    for (const subscriber of this.#subscribers.values()) subscriber.onGap();
  }

  /** Everyone who can connect to the database can send on the channel; what makes no sense must do no harm. */
  #deliver(channel: string, payload: string): void {
    const subscriber = this.#subscribers.get(channel);
    try {
      subscriber?.onMessage(payload);
    } catch (error) {
      this.#log.warn({ channel, error: String(error) }, "got a notification that makes no sense");
      subscriber?.onGap();
    }
  }

  /** Says it once, and not again at each attempt that fails. */
  #sayFailure(error: unknown): void {
    const failure =
      error instanceof UndeliveredError
        ? "the database does not deliver notifications: until it does, nothing is answered from memory " +
          "(a pool of connections in between must keep one connection for each client, as PgBouncer does in session mode)"
        : "lost the connection for notifications";
    if (failure === this.#saidFailure) return;
    this.#saidFailure = failure;
    this.#log.warn({ error: String(error) }, failure);
  }
}
