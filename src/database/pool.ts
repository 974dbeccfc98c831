import pg from "pg";
import { parse, parseIntoClientConfig } from "pg-connection-string";
import { overloaded } from "../errors/retryable.ts";
import { measureBusyness } from "../telemetry/busyness.ts";
import type { Log } from "../telemetry/log.ts";
import { Semaphore } from "./semaphore.ts";
import { codeOf, TroubleLog } from "./trouble-log.ts";

/** What a pool is for, and how much it takes. */
export interface PoolSettings {
  /** Appended to the name of its connections in `pg_stat_activity`, such as "reads". */
  readonly purpose: string;
  /** How many connections may be open at once. */
  readonly size: number;
  /** How many callers may wait for a connection. */
  readonly maxWaiting: number;
  /** The message of the error for a caller who gets no connection in time. */
  readonly refusal: string;
  /** The longest that one statement may run, in milliseconds; default 30 seconds. */
  readonly statementTimeoutMs?: number;
  /** The longest that a statement may wait for a lock, in milliseconds; default: as long as it may run. */
  readonly lockTimeoutMs?: number;
  /** The longest that a transaction may be idle before the database ends it, in milliseconds; default: no limit. */
  readonly idleInTransactionTimeoutMs?: number;
}

/** How long a new connection may take before the database counts as away. */
const connectTimeoutMs = 5_000;

/** How long a caller waits for another one to give a connection back. */
const maxWaitMs = 5_000;

/** A bound for the statements whose caller set no deadline. */
const defaultStatementTimeoutMs = 30_000;

/** How much longer than its statement may run an answer is waited for. */
const answerGraceMs = 2_000;

/**
 * A connection plans each statement once, for any values: the plans are meant to be the same for all learners, and to
 * plan a summary takes a third of the time of a whole one. None runs long enough to be worth compiling. `options` in
 * the URL of the database come behind these, and win.
 */
const sessionOptions = "-c plan_cache_mode=force_generic_plan -c jit=off";

/**
 * Connections for one purpose. They are opened when needed, kept for a while, and replaced when they break. Callers wait
 * in a bounded line while all are in use, so "busy" is never taken for "the database is away".
 */
export class ConnectionPool {
  readonly #pool: pg.Pool;
  readonly #semaphore: Semaphore;
  readonly #troubles: TroubleLog | undefined;
  /** The connections that were made since they were last distrusted. */
  #trusted = new WeakSet<pg.PoolClient>();

  constructor(pool: pg.Pool, semaphore: Semaphore, troubles?: TroubleLog) {
    this.#pool = pool;
    this.#semaphore = semaphore;
    this.#troubles = troubles;
    pool.on("connect", (client) => this.#trusted.add(client));
  }

  /** For a connection outside of the pool, to the same database. */
  get clientConfig(): pg.ClientConfig {
    return this.#pool.options;
  }

  /**
   * @returns a connection; give it back with {@link release}
   * @throws the signal's reason if it aborts while the caller waits
   * @throws ConnectError RESOURCE_EXHAUSTED if no connection becomes free in time, or this process is too busy to connect
   * @throws Error if the database cannot be reached
   */
  async connect(signal?: AbortSignal): Promise<pg.PoolClient> {
    await this.#semaphore.acquire(signal);
    const isBusy = measureBusyness();
    const beganAt = performance.now();
    try {
      for (;;) {
        const client = await this.#pool.connect();
        if (this.#trusted.has(client)) return client;
        client.release(true);
      }
    } catch (error) {
      this.#semaphore.release();
      const isTimeout = performance.now() - beganAt >= connectTimeoutMs;
      if (isTimeout && isBusy()) throw overloaded("the server is busy");
      throw error;
    }
  }

  /** @param isBroken closes the connection, so that nobody uses it again */
  release(client: pg.PoolClient, isBroken: boolean): void {
    client.release(isBroken || !this.#trusted.has(client));
    this.#semaphore.release();
  }

  /**
   * No connection that is open now is handed out again: one of them got no answer, so the others may be dead as well,
   * and each would hold up a statement until its time limit.
   */
  distrustConnections(): void {
    this.#trusted = new WeakSet();
  }

  /** Logs why the database cannot be used, but not for every call. */
  reportTrouble(error: unknown): void {
    this.#troubles?.report(error);
  }

  end(): Promise<void> {
    return this.#pool.end();
  }
}

export function createPool(
  connectionString: string,
  settings: PoolSettings,
  log: Log,
  troubles = new TroubleLog(log),
): ConnectionPool {
  const { purpose, size, maxWaiting, refusal, lockTimeoutMs, idleInTransactionTimeoutMs } = settings;
  const { statementTimeoutMs = defaultStatementTimeoutMs } = settings;
  const { options = "" } = parse(connectionString);
  const pool = new pg.Pool({
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs + answerGraceMs,
    ...(lockTimeoutMs !== undefined && { lock_timeout: lockTimeoutMs }),
    ...(idleInTransactionTimeoutMs !== undefined && {
      idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
    }),
    keepAlive: true,
    // Time limits in the URL win, too.
    ...parseIntoClientConfig(connectionString),
    max: size,
    application_name: `daily-aggregator ${purpose}`,
    options: `${sessionOptions} ${options}`,
  });
  // Whatever breaks is replaced by the pool; without a listener it would end the process. The pool listens to the
  // idle connections only: of one that is in use, the statement that runs on it fails, too.
  pool.on("error", (error) => log.warn({ code: codeOf(error) }, "lost an idle database connection"));
  pool.on("connect", (client) => client.on("error", () => {}));
  const semaphore = new Semaphore({ permits: size, maxWaiting, maxWaitMs, refusal });
  return new ConnectionPool(pool, semaphore, troubles);
}
