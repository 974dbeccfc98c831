import { randomUUID } from "node:crypto";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { freeFullQueue } from "./notification-queue.ts";
import type { ClockSample } from "./settled-time.ts";

/** Notifications were sent and did not come within the time limit, though both connections work. */
export class UndeliveredError extends Error {}

interface NotificationLinkOptions {
  readonly databaseUrl: string;
  /**
   * Where this process sends heartbeats to itself. It is always the same, for a pool of connections may keep listening on
   * it after this link is gone.
   */
  readonly ownChannel: string;
  readonly channels: readonly string[];
  /** Is given each message that comes on one of the channels, in the order of the commits. */
  readonly deliver: (channel: string, payload: string) => void;
  /** How long the database may take for anything, in milliseconds. */
  readonly timeoutMs: number;
}

/** How long a connection may take to say goodbye. */
const farewellMs = 300;

/**
 * Two connections: one listens, the other one sends. A heartbeat is a notification from the one to the other.
 *
 * One connection would not do. A connection pool that hands the database's connections on after each transaction drops
 * notifications that come in between, but delivers those that a client sends to itself.
 */
export class NotificationLink implements AsyncDisposable {
  readonly #listener: pg.Client;
  readonly #sender: pg.Client;
  readonly #sockets: Socket[] = [];
  readonly #options: NotificationLinkOptions;
  readonly #broken = Promise.withResolvers<never>();
  #awaited = "";
  #onReturn = () => {};

  private constructor(options: NotificationLinkOptions) {
    this.#options = options;
    this.#listener = this.#client("notifications");
    this.#sender = this.#client("heartbeats");
    // Whoever waits for something hears of it; if nobody does, the next one who tries to.
    this.#broken.promise.catch(() => {});
  }

  /** @throws Error if the database cannot be reached */
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
   * Resolves when a notification to oneself has come back. Notifications are delivered in the order of their commits, so
   * every message that was committed before the call has been delivered by then.
   *
   * The settings are of this transaction only. A heartbeat need not survive a crash, so it does not wait for a disk or a
   * standby. It may have to wait for the commit of another notification, for a limited time.
   *
   * @throws UndeliveredError if the notification does not come back in time
   * @throws Error if a connection breaks
   */
  async beat(): Promise<ClockSample> {
    const payload = randomUUID();
    const returned = Promise.withResolvers<void>();
    this.#awaited = payload;
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
    await this.#inTime(returned.promise);
    const [row] = rows;
    if (row === undefined) throw new Error("a SELECT without FROM has a row");
    return {
      clock: BigInt(row.clock),
      transactionId: BigInt(row.transaction_id),
      oldestRunning: BigInt(row.oldest_running),
    };
  }

  /**
   * Sends messages, all of them or none. It does not wait for a disk: what is sent here concerns running processes only.
   *
   * @throws Error if they may not have been sent
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

  /** Makes whoever waits for something fail at once. */
  break(reason: Error): void {
    this.#broken.reject(reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.break(new Error("the connection was closed"));
    const ends = [this.#listener, this.#sender].map((client) => client.end().catch(() => {}));
    await Promise.race([Promise.all(ends), sleep(farewellMs)]);
    for (const socket of this.#sockets) socket.destroy();
  }

  async #connect(): Promise<void> {
    const { ownChannel, channels, deliver } = this.#options;
    this.#listener.on("notification", ({ channel, payload = "" }) => {
      if (channel !== ownChannel) deliver(channel, payload);
      else if (payload === this.#awaited) this.#onReturn();
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

  async #inTime(returned: Promise<void>): Promise<void> {
    const late = Promise.withResolvers<never>();
    const fail = () => late.reject(new UndeliveredError("a notification did not come back"));
    const timer = setTimeout(fail, this.#options.timeoutMs);
    try {
      await Promise.race([returned, late.promise, this.#broken.promise]);
    } finally {
      clearTimeout(timer);
    }
  }
}
