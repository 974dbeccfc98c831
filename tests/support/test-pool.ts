import pg from "pg";
import { ConnectionPool } from "../../src/database/pool.ts";
import { Semaphore } from "../../src/database/semaphore.ts";

/** Wraps a pool for the code under test, so that a test can observe its connections and use them, too. */
export function connectionPoolOver(pool: pg.Pool): ConnectionPool {
  const limits = { permits: pool.options.max, maxWaiting: 10_000, maxWaitMs: 30_000, refusal: "busy" };
  return new ConnectionPool(pool, new Semaphore(limits));
}

/** A pool for tests. If a connection breaks, only the next statement over it fails. */
export function createTestPool(connectionString: string, max = 10): pg.Pool {
  const pool = new pg.Pool({ connectionString, max, keepAlive: true });
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}
