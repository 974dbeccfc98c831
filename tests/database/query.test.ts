import { Socket } from "node:net";
import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { query } from "../../src/database/query.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { connectionPoolOver } from "../support/test-pool.ts";

const database = useTestDatabase();

test("a statement is cancelled even if PostgreSQL receives the cancellation before the statement", async () => {
  const sockets: Socket[] = [];
  const createSocket = () => {
    const socket = new Socket();
    sockets.push(socket);
    return socket;
  };
  const pool = new pg.Pool({ connectionString: database.url, stream: createSocket });
  onTestFinished(() => pool.end());
  const connections = connectionPoolOver(pool);
  await pool.query("SELECT");
  const [statementSocket] = sockets;
  // From now on, data sent over the connection is buffered in this process.
  statementSocket?.cork();

  const caller = new AbortController();
  const reason = new Error("the caller gave up");
  const statement = query(connections, { text: "SELECT pg_sleep(300)" }, caller.signal);
  await expect.poll(() => statementSocket?.writableLength).toBeGreaterThan(0);
  caller.abort(reason);
  // The first attempt to cancel is complete once its connection is closed.
  await expect.poll(() => sockets[1]?.closed).toBe(true);
  statementSocket?.uncork();

  await expect(statement).rejects.toBe(reason);
  // PostgreSQL sends the error before it sets the state of the connection to idle.
  await expect.poll(() => count("SELECT pg_sleep(300)", "state = 'active'")).toBe(0);
});

test("a statement is cancelled even if the first connection for the cancellation fails", async () => {
  const sockets: Socket[] = [];
  const createSocket = () => {
    const socket = new Socket();
    sockets.push(socket);
    if (sockets.length === 2) socket.destroy(new Error("no connection"));
    return socket;
  };
  const pool = new pg.Pool({ connectionString: database.url, stream: createSocket });
  onTestFinished(() => pool.end());
  const caller = new AbortController();
  const statement = query(connectionPoolOver(pool), { text: "SELECT pg_sleep(301)" }, caller.signal);
  await expect.poll(() => count("SELECT pg_sleep(301)", "wait_event = 'PgSleep'")).toBe(1);
  caller.abort();
  await expect(statement).rejects.toBe(caller.signal.reason);
});

/** The number of connections whose current or last statement is this one, and which meet the condition. */
async function count(statement: string, condition: string): Promise<number> {
  const { rows } = await database.pool.query(
    `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query = $1 AND ${condition}`,
    [statement],
  );
  return rows.length;
}
