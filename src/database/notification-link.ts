import { randomUUID } from "node:crypto";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { freeFullQueue } from "./notification-queue.ts";
import type { ClockSample } from "./settled-time.ts";

/** A notification was sent, but not received within the time limit, although both connections work. */
export class UndeliveredError extends Error {}

interface NotificationLinkOptions {
  readonly databaseUrl: string;
  /**
   * The channel on which this process sends heartbeats to itself. All links of a process use the same one, because a
   * connection pooler may keep listening on it after a link is closed.
   */
  readonly ownChannel: string;
  readonly channels: readonly string[];
  /** Called with each message that is received on one of the channels, in the order of the commits. */
  readonly deliver: (channel: string, payload: string) => void;
  /** The time limit for each connection attempt, each statement, and the return of a heartbeat, in milliseconds. */
  readonly timeoutMs: number;
}

/** How long closing the connections may take before their sockets are destroyed. */
const closingMs = 300;

/**
 * A pair of connections: a listener and a sender. A heartbeat is a notification from the sender to the listener.
 *
 * A single connection is not enough. A connection pooler that reassigns connections after each transaction drops
 * notifications that arrive between transactions, but delivers those that a client sends to itself. So heartbeats would
 * be received while messages are lost.
 */
export class NotificationLink implements AsyncDisposable {
  readonly #listener: pg.Client;
  readonly #sender: pg.Client;
  readonly #sockets: Socket[] = [];
  readonly #options: NotificationLinkOptions;
  readonly #broken = Promise.withResolvers<never>();
  #expectedPayload = "";
  #onReturn = () => {};

  private constructor(options: NotificationLinkOptions) {
    this.#options = options;
    this.#listener = this.#client("notifications");
    this.#sender = this.#client("heartbeats");
    // Pending and later operations reject with the reason. If there are none, the rejection must not end the process.
    this.#broken.promise.catch(() => {});
  }

  /**
   * Connects and listens on all channels.
   *
   * @throws Error if the database cannot be reached
   */
  static async open(options: NotificationLinkOptions): Promise<NotificationLink> {
    const link = new NotificationLink(options);
    try {
      await link.#connect();
      return link;
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * Sends a heartbeat, and resolves when it has been received. PostgreSQL delivers notifications in the order of their
   * commits, so every message that was committed before the call has been delivered when it resolves.
   *
   * The settings apply to this transaction only. A heartbeat need not survive a crash, so its commit does not wait
   * for a disk or a standby. PostgreSQL lets only one transaction with notifications commit at a time: the lock
   * timeout limits the wait for another one.
   *
   * @returns what the heartbeat's statement read in the database
   * @throws UndeliveredError if the heartbeat is not received in time
   * @throws Error if its statement fails, or a connection breaks
   */
  async beat(): Promise<ClockSample> {
    const payload = randomUUID();
    const returned = Promise.withResolvers<void>();
    this.#expectedPayload = payload;
    this.#onReturn = returned.resolve;
    const { rows } = await this.#query<{ clock: string; transaction_id: string; oldest_running: string }>(
      `SELECT
        set_config('synchronous_commit', 'off', true),
        set_config('lock_timeout', '4s', true),
        pg_notify($1, $2),
        (extract(epoch FROM now()) * 1000000)::bigint AS clock,
        pg_current_xact_id()::text AS transaction_id,
        pg_snapshot_xmin(pg_current_snapshot())::text AS oldest_running`,
      [this.#options.ownChannel, payload],
    );
    await this.#withinTimeout(returned.promise);
    const [row] = rows;
    if (row === undefined) throw new Error("a SELECT without FROM returned no row");
    return {
      clock: BigInt(row.clock),
      transactionId: BigInt(row.transaction_id),
      oldestRunning: BigInt(row.oldest_running),
    };
  }

  /**
   * Sends messages in one transaction. Its commit does not wait for a disk, because the messages concern running
   * processes only.
   *
   * @throws Error if the messages may not have been sent
   */
  async send(channel: string, payloads: readonly string[]): Promise<void> {
    await this.#query(
      `SELECT
        set_config('synchronous_commit', 'off', true),
        set_config('lock_timeout', '4s', true),
        pg_notify($1, payload)
      FROM unnest($2::text[]) AS payload`,
      [channel, payloads],
    );
  }

  /** Makes all pending and later operations fail at once. */
  break(reason: Error): void {
    this.#broken.reject(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.break(new Error("the connection was closed"));
    const ends = [this.#listener, this.#sender].map((client) => client.end().catch(() => {}));
    await Promise.race([Promise.all(ends), sleep(closingMs)]);
    for (const socket of this.#sockets) socket.destroy();
  }

  async #connect(): Promise<void> {
    const { ownChannel, channels, deliver } = this.#options;
    this.#listener.on("notification", ({ channel, payload = "" }) => {
      if (channel !== ownChannel) deliver(channel, payload);
      else if (payload === this.#expectedPayload) this.#onReturn();
    });
    await Promise.all([this.#listener.connect(), this.#sender.connect()]);
    for (const channel of [ownChannel, ...channels]) {
      await this.#listener.query(`LISTEN ${this.#listener.escapeIdentifier(channel)}`);
    }
  }

  #client(purpose: string): pg.Client {
    const { databaseUrl, timeoutMs } = this.#options;
    const client = new pg.Client({
      connectionString: databaseUrl,
      application_name: `daily-aggregator ${purpose}`,
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      keepAlive: true,
      stream: () => {
        const socket = new Socket();
        this.#sockets.push(socket);
        return socket;
      },
    });
    client.on("error", (error) => this.break(error));
    client.on("end", () => this.break(new Error("the connection was closed")));
    return client;
  }

  async #query<Row extends pg.QueryResultRow>(text: string, values: unknown[]): Promise<pg.QueryResult<Row>> {
    try {
      return await Promise.race([this.#sender.query<Row>(text, values), this.#broken.promise]);
    } catch (error) {
      await freeFullQueue(this.#sender, error);
      throw error;
    }
  }

  async #withinTimeout(returned: Promise<void>): Promise<void> {
    const late = Promise.withResolvers<never>();
    const fail = () => late.reject(new UndeliveredError("a notification was not delivered in time"));
    const timer = setTimeout(fail, this.#options.timeoutMs);
    try {
      await Promise.race([returned, late.promise, this.#broken.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}
