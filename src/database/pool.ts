import pg from "pg";
import { parse, parseIntoClientConfig } from "pg-connection-string";
import { overloaded } from "../errors/retryable.ts";
import { measureBusyness } from "../telemetry/busyness.ts";
import type { Log } from "../telemetry/log.ts";
import { Semaphore } from "./semaphore.ts";
import { codeOf, TroubleLog } from "./trouble-log.ts";

/** The purpose and the limits of a pool. */
export interface PoolSettings {
  /** Appended to the name of its connections in `pg_stat_activity`, such as "reads". */
  readonly purpose: string;
  /** The most connections that may be open. */
  readonly size: number;
  /** The most callers that may wait for a connection. */
  readonly maxWaiting: number;
  /** The message of the error for a caller that gets no connection in time. */
  readonly refusal: string;
  /** The statement timeout, in milliseconds; default: 30 seconds. */
  readonly statementTimeoutMs?: number;
  /** How long a statement may wait for a lock, in milliseconds; default: until the statement timeout. */
  readonly lockTimeoutMs?: number;
  /** How long a transaction may be idle before the database closes its session, in milliseconds; default: no limit. */
  readonly idleInTransactionTimeoutMs?: number;
}

/** The time limit for opening a connection. If it expires, the database counts as unavailable. */
const connectTimeoutMs = 5_000;

/** How long a caller waits for another caller to release a connection. */
const maxWaitMs = 5_000;

/** Limits the statements of callers without a deadline. */
const defaultStatementTimeoutMs = 30_000;

/** How much longer than the statement timeout a pool waits for the answer to a statement. */
const answerGraceMs = 2_000;

/**
 * With generic plans, a connection plans each statement only once. The plans are meant to be the same for all learners,
 * and planning takes a third of the time of a summary. JIT is off, because the statements are too short to be worth
 * compiling. `options` in the database URL follow these options, and override them.
 */
const sessionOptions = "-c plan_cache_mode=force_generic_plan -c jit=off";

/**
 * A pool of connections for one purpose. Connections are opened on demand, kept for a while, and replaced when they
 * break. While all are in use, callers wait in a bounded queue, so an exhausted pool is not mistaken for a database
 * that is unavailable.
 */
export class ConnectionPool {
  readonly #pool: pg.Pool;
  readonly #semaphore: Semaphore;
  readonly #troubles: TroubleLog | undefined;
  /** The connections that were opened after the last call of {@link distrustConnections}. */
  #trusted = new WeakSet<pg.PoolClient>();

  constructor(pool: pg.Pool, semaphore: Semaphore, troubles?: TroubleLog) {
    this.#pool = pool;
    this.#semaphore = semaphore;
    this.#troubles = troubles;
    pool.on("connect", (client) => this.#trusted.add(client));
  }

  /** The configuration for a connection to the same database outside the pool. */
  get clientConfig(): pg.ClientConfig {
    return this.#pool.options;
  }

  /**
   * Waits for a connection, and opens one if necessary.
   *
   * @returns a connection; the caller must call {@link release} afterwards
   * @throws the signal's reason if it aborts while the caller waits
   * @throws ConnectError RESOURCE_EXHAUSTED if no connection becomes free in time, or if this process is too busy to
   * connect
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

  /** @param isBroken closes the connection instead of reusing it */
  release(client: pg.PoolClient, isBroken: boolean): void {
    client.release(isBroken || !this.#trusted.has(client));
    this.#semaphore.release();
  }

  /**
   * Prevents the reuse of all connections that are open now. Call it if one of them got no answer: the others may be
   * dead as well, and each would delay a statement until its timeout.
   */
  distrustConnections(): void {
    this.#trusted = new WeakSet();
  }

  /** Logs why the database cannot be used; the same reason at most once a minute. */
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
    // Time limits in the URL override those above, too.
    ...parseIntoClientConfig(connectionString),
    max: size,
    application_name: `daily-aggregator ${purpose}`,
    options: `${sessionOptions} ${options}`,
  });
  // Without listeners, a broken connection would end the process. The pool emits the errors of idle connections only:
  // if a connection in use breaks, its statement fails in any case. The pool replaces broken connections.
  pool.on("error", (error) => log.warn({ code: codeOf(error) }, "lost an idle database connection"));
  pool.on("connect", (client) => client.on("error", () => {}));
  const semaphore = new Semaphore({ permits: size, maxWaiting, maxWaitMs, refusal });
  return new ConnectionPool(pool, semaphore, troubles);
}
