import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import pg from "pg";
import { overloaded, unavailable } from "../errors/retryable.ts";
import { freeFullQueue } from "./notification-queue.ts";
import type { ConnectionPool } from "./pool.ts";
import { conditionOf, isContention } from "./sqlstate.ts";

/**
 * Runs one statement on a connection of the pool.
 *
 * @param signal cancels the statement in the database, too, when it aborts; omit it for a statement that must complete
 * @throws the signal's reason if it aborts
 * @throws ConnectError UNAVAILABLE if the database is unavailable; a write may have been committed nevertheless
 * @throws ConnectError RESOURCE_EXHAUSTED if the database is busy, if the statement waits too long for a lock or
 * conflicts with another transaction, or if no connection of the pool becomes free in time
 * @throws pg.DatabaseError for all other errors of the database; these are not transient
 */
export async function query<Row extends pg.QueryResultRow>(
  pool: ConnectionPool,
  statement: pg.QueryConfig,
  signal?: AbortSignal,
): Promise<Row[]> {
  let client: pg.PoolClient | undefined;
  let cancellation: Promise<void> | undefined;
  let isBroken = false;
  const ended = new AbortController();
  const cancel = () => {
    if (client) cancellation = cancelUntilEnded(pool, client, ended.signal);
  };
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    client = await pool.connect(signal);
    signal?.throwIfAborted();
    const { rows } = await client.query<Row>(statement);
    return rows;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (client) await freeFullQueue(client, error);
    // A DatabaseError is a complete response, so the connection can be reused, unless the server is closing it.
    isBroken = !(error instanceof pg.DatabaseError) || conditionOf(error)?.meaning === "unavailable";
    throw translate(error, pool);
  } finally {
    signal?.removeEventListener("abort", cancel);
    if (cancellation) ended.abort();
    await cancellation;
    // A late cancellation could cancel the next statement on the connection, so the connection is closed.
    if (client) pool.release(client, isBroken || cancellation !== undefined);
  }
}

/**
 * Runs several statements as one transaction, and rolls it back if `body` throws.
 *
 * @throws the errors that {@link query} throws, and any other error of `body`
 */
export async function transaction<Result>(
  pool: ConnectionPool,
  body: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  let client: pg.PoolClient | undefined;
  let failed = true;
  try {
    client = await pool.connect();
    await client.query("BEGIN");
    const result = await body(client);
    await client.query("COMMIT");
    failed = false;
    return result;
  } catch (error) {
    if (client) await freeFullQueue(client, error);
    throw translate(error, pool);
  } finally {
    // Closing the connection rolls the transaction back, even if the connection no longer responds.
    if (client) pool.release(client, failed);
  }
}

const maxContentionAttempts = 10;
const firstContentionPauseMs = 2;

/**
 * Runs a statement or transaction, up to ten times if it ends with a deadlock or a serialization failure. The pauses
 * are random; their mean doubles from 2 ms to half a second.
 *
 * @throws any other error of the attempt, or the tenth deadlock or serialization failure
 */
export async function retryOnContention<Result>(attempt: () => Promise<Result>): Promise<Result> {
  for (let attempts = 1; ; attempts += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!isContention(error) || attempts === maxContentionAttempts) throw error;
      await sleep(firstContentionPauseMs * 2 ** (attempts - 1) * (0.5 + Math.random()));
    }
  }
}

/** The pause after the first attempt to cancel a statement; it doubles up to {@link maxCancelPauseMs}. */
const firstCancelPauseMs = 50;
const maxCancelPauseMs = 1_000;

/**
 * Cancels the statement of a connection repeatedly until it has ended. One attempt may not be enough: PostgreSQL
 * ignores a cancellation that arrives before it has read the statement, and the attempt may fail.
 */
async function cancelUntilEnded(
  pool: ConnectionPool,
  running: pg.PoolClient,
  ended: AbortSignal,
): Promise<void> {
  for (let pauseMs = firstCancelPauseMs; !ended.aborted; pauseMs = Math.min(2 * pauseMs, maxCancelPauseMs)) {
    await cancelStatement(pool, running);
    await sleep(pauseMs, undefined, { signal: ended }).catch(() => {});
  }
}

/** Cancels the statement of a connection over a separate connection. Never throws. */
async function cancelStatement(pool: ConnectionPool, running: pg.PoolClient): Promise<void> {
  const canceller = new pg.Client(pool.clientConfig);
  // A failure can be ignored: the caller tries again, and the statement has its own timeout.
  canceller.on("error", () => {});
  try {
    await canceller.connect();
    await canceller.query("SELECT pg_cancel_backend($1)", [backendPid(running)]);
  } catch {
  } finally {
    await canceller.end().catch(() => {});
  }
}

/** The id of the server process for a connection, which the server sent when the connection was opened. */
function backendPid(client: pg.PoolClient): number {
  // The type declarations of node-postgres lack this property.
  return (client as pg.PoolClient & { readonly processID: number }).processID;
}

/**
 * Converts transient errors and connection errors into ConnectErrors, whose messages contain no host, user, statement
 * or value. All other errors stay as they are.
 */
function translate(error: unknown, pool: ConnectionPool): unknown {
  if (error instanceof pg.DatabaseError) {
    const meaning = conditionOf(error)?.meaning;
    if (meaning === "locked" || meaning === "contention") {
      return overloaded("another transaction in the database conflicts with this call", error);
    }
    if (meaning === "unavailable" || meaning === "busy") pool.reportTrouble(error);
    if (meaning === "unavailable") return unavailable("the database is unavailable", error);
    return meaning === "busy" ? overloaded("the database is busy", error) : error;
  }
  const isOurs = error instanceof ConnectError || error instanceof TypeError || error instanceof RangeError;
  if (isOurs) return error;
  // All remaining errors are connection errors: refused, reset, timed out.
  pool.reportTrouble(error);
  pool.distrustConnections();
  return unavailable("the database is unavailable", error);
}

/** Whether an error of {@link query} means that the database cannot be reached, or does not answer. */
export function isUnanswered(error: unknown): boolean {
  return (
    error instanceof ConnectError &&
    error.code === Code.Unavailable &&
    error.cause !== undefined &&
    !(error.cause instanceof pg.DatabaseError)
  );
}
