import { Code, ConnectError } from "@connectrpc/connect";
import pg from "pg";
import { unavailable } from "../errors/unavailable.ts";

/**
 * Runs one statement on a connection of the pool.
 *
 * @param signal aborting it cancels the statement in the database, too; leave it out for what must not be cut off
 * @throws the signal's reason once it is aborted
 * @throws ConnectError UNAVAILABLE if the database is away; a write may have been committed all the same
 * @throws pg.DatabaseError for whatever else the database refuses
 */
export async function query<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  statement: pg.QueryConfig,
  signal?: AbortSignal,
): Promise<Row[]> {
  let client: pg.PoolClient | undefined;
  let cancellation: Promise<void> | undefined;
  const cancel = () => {
    if (client) cancellation = cancelStatement(pool, client);
  };
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    client = await pool.connect();
    signal?.throwIfAborted();
    const { rows } = await client.query<Row>(statement);
    return rows;
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw translate(error);
  } finally {
    signal?.removeEventListener("abort", cancel);
    await cancellation;
    // A cancellation may reach the connection late and hit its next statement, so that one is closed.
    client?.release(cancellation !== undefined);
  }
}

/** Asks the database, over a connection of its own, to cancel what another one is running. */
async function cancelStatement(pool: pg.Pool, running: pg.PoolClient): Promise<void> {
  const canceller = new pg.Client(pool.options);
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
  if (!(error instanceof pg.DatabaseError)) {
    // Everything that did not come from the database comes from the way to it, or is a mistake in this code.
    return error instanceof TypeError || error instanceof RangeError
      ? error
      : unavailable("the database is away", error);
  }
  const { code = "" } = error;
  if (code === queryCanceled) {
    return new ConnectError("the database took too long", Code.DeadlineExceeded, undefined, undefined, error);
  }
  return isAway(code) ? unavailable("the database is away", error) : error;
}

// SQLSTATE codes and classes: https://www.postgresql.org/docs/current/errcodes-appendix.html
const queryCanceled = "57014";
const connectionException = "08";
const insufficientResources = "53";
const operatorIntervention = "57P";
const readOnlyTransaction = "25006";

function isAway(code: string): boolean {
  return (
    code.startsWith(connectionException) ||
    code.startsWith(insufficientResources) ||
    code.startsWith(operatorIntervention) ||
    // What was the primary a moment ago is a standby now.
    code === readOnlyTransaction
  );
}
