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
 * @param signal aborting it cancels the statement in the database, too; leave it out for what must not be cut off
 * @throws the signal's reason once it is aborted
 * @throws ConnectError UNAVAILABLE if the database is away; a write may have been committed all the same
 * @throws ConnectError RESOURCE_EXHAUSTED if the database is busy, if the statement waits too long for a lock, or if
 * every connection of the pool is in use for too long
 * @throws pg.DatabaseError for whatever else the database refuses, which does not pass by itself
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
    // A DatabaseError is a complete response, so the connection can be used again, unless the server is closing it.
    isBroken = !(error instanceof pg.DatabaseError) || conditionOf(error)?.meaning === "away";
    throw translate(error, pool);
  } finally {
    signal?.removeEventListener("abort", cancel);
    if (cancellation) ended.abort();
    await cancellation;
    // A cancellation may reach the connection late and hit its next statement, so that one is closed.
    if (client) pool.release(client, isBroken || cancellation !== undefined);
  }
}

/**
 * Runs several statements as one transaction, which is rolled back if `body` throws.
 *
 * @throws as {@link query} does
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
    // Closing the connection rolls back whatever it had begun, even when it no longer answers.
    if (client) pool.release(client, failed);
  }
}

const maxContentionAttempts = 10;
const firstContentionPauseMs = 2;

/**
 * Runs a statement or transaction again when it lost a race against another one (a deadlock or a serialization
 * failure), after a random pause that grows from 2 ms to about a second.
 *
 * @throws whatever else it throws, or the last of ten such failures
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

/** The first pause before a statement that goes on is cancelled again; it doubles up to {@link maxCancelPauseMs}. */
const firstCancelPauseMs = 50;
const maxCancelPauseMs = 1_000;

/**
 * Cancels what a connection is running, again and again until it has ended: PostgreSQL ignores a cancellation that
 * arrives before it has read the statement, and the cancelling itself may fail.
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

/** Asks the database, over a connection of its own, to cancel what another one is running. */
async function cancelStatement(pool: ConnectionPool, running: pg.PoolClient): Promise<void> {
  const canceller = new pg.Client(pool.clientConfig);
  // If it fails, it is tried again; and the statement has a time limit of its own.
  canceller.on("error", () => {});
  try {
    await canceller.connect();
    await canceller.query("SELECT pg_cancel_backend($1)", [backendPid(running)]);
  } catch {
  } finally {
    await canceller.end().catch(() => {});
  }
}

/** The process that serves a connection, as the database named it when the connection was made. */
function backendPid(client: pg.PoolClient): number {
  // node-postgres has this number, its type declarations do not.
  return (client as pg.PoolClient & { readonly processID: number }).processID;
}

/** What callers get: nothing in it names a host, a user, a statement or a value. */
function translate(error: unknown, pool: ConnectionPool): unknown {
  if (error instanceof pg.DatabaseError) {
    const meaning = conditionOf(error)?.meaning;
    if (meaning === "locked" || meaning === "contention") {
      return overloaded("another transaction in the database is in the way", error);
    }
    if (meaning === "away" || meaning === "busy") pool.reportTrouble(error);
    if (meaning === "away") return unavailable("the database is away", error);
    return meaning === "busy" ? overloaded("the database is busy", error) : error;
  }
  const isOurs = error instanceof ConnectError || error instanceof TypeError || error instanceof RangeError;
  if (isOurs) return error;
  // Everything else comes from the way to the database: refused, reset, timed out.
  pool.reportTrouble(error);
  pool.distrustConnections();
  return unavailable("the database is away", error);
}

/** Nothing came back from the database: it cannot be reached, or does not answer. */
export function isUnanswered(error: unknown): boolean {
  return (
    error instanceof ConnectError &&
    error.code === Code.Unavailable &&
    error.cause !== undefined &&
    !(error.cause instanceof pg.DatabaseError)
  );
}
