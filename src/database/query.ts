import { Code, ConnectError } from "@connectrpc/connect";
import pg from "pg";
import { unavailable } from "../errors/retryable.ts";
import type { ConnectionPool } from "./pool.ts";
import { isAway, isQueryCanceled } from "./sqlstate.ts";

/**
 * Runs one statement on a connection of the pool.
 *
 * @param signal aborting it cancels the statement in the database, too; leave it out for what must not be cut off
 * @throws the signal's reason once it is aborted
 * @throws ConnectError UNAVAILABLE if the database is away; a write may have been committed all the same
 * @throws ConnectError RESOURCE_EXHAUSTED if every connection of the pool is in use for too long
 * @throws pg.DatabaseError for whatever else the database refuses
 */
export async function query<Row extends pg.QueryResultRow>(
  pool: ConnectionPool,
  statement: pg.QueryConfig,
  signal?: AbortSignal,
): Promise<Row[]> {
  let client: pg.PoolClient | undefined;
  let cancellation: Promise<void> | undefined;
  let isBroken = false;
  const cancel = () => {
    if (client) cancellation = cancelStatement(pool, client);
  };
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    client = await pool.connect(signal);
    signal?.throwIfAborted();
    const { rows } = await client.query<Row>(statement);
    return rows;
  } catch (error) {
    // What the database refuses it has answered, and the connection is as good as before, unless that is its last word.
    if (signal?.aborted) throw signal.reason;
    isBroken = !(error instanceof pg.DatabaseError) || isAway(error);
    throw translate(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
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
    throw translate(error);
  } finally {
    // Closing the connection rolls back whatever it had begun, even when it no longer answers.
    if (client) pool.release(client, failed);
  }
}

/** Asks the database, over a connection of its own, to cancel what another one is running. */
async function cancelStatement(pool: ConnectionPool, running: pg.PoolClient): Promise<void> {
  const canceller = new pg.Client(pool.clientConfig);
  // Nothing is lost if it fails: the statement has a time limit of its own.
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

function translate(error: unknown): unknown {
  if (isAway(error)) return unavailable("the database is away", error);
  if (isQueryCanceled(error)) {
    return new ConnectError("the database took too long", Code.DeadlineExceeded, undefined, undefined, error);
  }
  const isOurs =
    error instanceof pg.DatabaseError ||
    error instanceof ConnectError ||
    error instanceof TypeError ||
    error instanceof RangeError;
  // Everything else comes from the way to the database: refused, reset, timed out.
  return isOurs ? error : unavailable("the database is away", error);
}
