import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import type { Log } from "../telemetry/log.ts";

/** Who follows a channel. */
export interface Subscriber {
  /** A transaction that sent this has been committed. To throw means that it could not be understood. */
  onMessage(payload: string): void;
  /** Messages may have been missed: whatever was concluded from their absence no longer holds. */
  onGap(): void;
}

/** How long the knowledge of what was committed stays good; see {@link Notifications.isCurrent}. */
export const leaseMs = 500;

const heartbeatMs = 150;
const heartbeatTimeoutMs = 5_000;
const reconnectMs = 1_000;

/**
 * Follows channels of LISTEN and NOTIFY over one connection.
 *
 *     connecting ──LISTEN is done──> listening ──the connection breaks──> connecting, after a pause
 *          any of them ──close()──> closed
 *
 * While listening, a heartbeat goes to the database and back. The database delivers what was committed before a
 * heartbeat began ahead of that heartbeat's answer; this is what makes {@link isCurrent} true.
 */
export class Notifications {
  readonly #databaseUrl: string;
  readonly #log: Log;
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #closed = new AbortController();
  #running: Promise<void> | undefined;
  /** When the last heartbeat that was answered began, in milliseconds of `performance.now()`. */
  #confirmedAt = Number.NEGATIVE_INFINITY;

  constructor(databaseUrl: string, log: Log) {
    this.#databaseUrl = databaseUrl;
    this.#log = log;
  }

  /** @param channel not followed yet; to be called before {@link start} */
  subscribe(channel: string, subscriber: Subscriber): void {
    this.#subscribers.set(channel, subscriber);
  }

  start(): void {
    this.#running = this.#run();
  }

  /**
   * Whether every message that was committed half a second ago or earlier has been delivered. So who commits a
   * message, and then waits for half a second, knows that no instance acts as if it had not been sent.
   */
  isCurrent(): boolean {
    return performance.now() - this.#confirmedAt < leaseMs;
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#closed.signal.aborted) {
      const client = new pg.Client({
        connectionString: this.#databaseUrl,
        application_name: "daily-aggregator notifications",
        connectionTimeoutMillis: heartbeatTimeoutMs,
        query_timeout: heartbeatTimeoutMs,
        keepAlive: true,
      });
      try {
        await this.#listen(client);
      } catch (error) {
        this.#log.warn({ error: String(error) }, "lost the connection for notifications");
      }
      this.#confirmedAt = Number.NEGATIVE_INFINITY;
      await client.end().catch(() => {});
      await this.#pause(reconnectMs);
    }
  }

  /** Returns when closed; throws when the connection breaks. */
  async #listen(client: pg.Client): Promise<void> {
    // A heartbeat fails, too, when the connection breaks; this only keeps the process alive.
    client.on("error", () => {});
    client.on("notification", ({ channel, payload = "" }) => this.#deliver(channel, payload));
    await client.connect();
    for (const channel of this.#subscribers.keys()) {
      await client.query(`LISTEN ${client.escapeIdentifier(channel)}`);
    }
    for (const subscriber of this.#subscribers.values()) subscriber.onGap();
    while (!this.#closed.signal.aborted) {
      const began = performance.now();
      await client.query("SELECT");
      this.#confirmedAt = began;
      await this.#pause(heartbeatMs);
    }
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

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closed.signal }).catch(() => {});
  }
}
