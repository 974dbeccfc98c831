import pg from "pg";
import { ConnectionPool } from "../../src/database/pool.ts";
import { Semaphore } from "../../src/database/semaphore.ts";

/** Lets the code under test use connections that a test watches or runs statements on, too. */
export function connectionPoolOver(pool: pg.Pool): ConnectionPool {
  const limits = { permits: pool.options.max, maxWaiting: 10_000, maxWaitMs: 30_000, refusal: "busy" };
  return new ConnectionPool(pool, new Semaphore(limits));
}

/** A pool as tests use it; a broken connection fails whoever uses it next, and nothing else. */
export function createTestPool(connectionString: string, max = 10): pg.Pool {
  const pool = new pg.Pool({ connectionString, max, keepAlive: true });
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
}
