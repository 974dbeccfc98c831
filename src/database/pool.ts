import pg from "pg";
import type { Log } from "../telemetry/log.ts";

/** What a connection of this service is called in `pg_stat_activity`. */
const applicationName = "daily-aggregator";

/** How long a call waits for a connection before the database counts as away. */
const connectTimeoutMs = 5_000;

/** The longest that one statement may run; a bound for the ones whose caller set no deadline. */
const statementTimeoutMs = 30_000;

/** How long an answer is waited for: a database that is there gives one within {@link statementTimeoutMs}. */
const answerTimeoutMs = statementTimeoutMs + 2_000;

/**
 * A connection plans each statement once, for any values: the plans are meant to be the same for all learners, and to
 * plan a summary takes a third of the time of a whole one. None runs long enough to be worth compiling. `options` in
 * the URL of the database takes the place of these.
 */
const options = "-c plan_cache_mode=force_generic_plan -c jit=off";

/** Connections are opened when needed, kept for a while, and replaced when they break. */
export function createPool(connectionString: string, size: number, log: Log): pg.Pool {
  const pool = new pg.Pool({
    connectionString,
    max: size,
    application_name: applicationName,
    options,
    connectionTimeoutMillis: connectTimeoutMs,
    statement_timeout: statementTimeoutMs,
    query_timeout: answerTimeoutMs,
    keepAlive: true,
  });
  // Whatever breaks is replaced by the pool; without a listener it would end the process. The pool listens to the
  // idle connections only: of one that is in use, the statement that runs on it fails, too.
  pool.on("error", (error) => log.warn({ error: error.message }, "lost an idle database connection"));
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}
