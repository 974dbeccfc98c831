import { Code } from "@connectrpc/connect";
import { expect, onTestFinished, test, vi } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { createPool } from "../../src/database/pool.ts";
import { query } from "../../src/database/query.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { failureOf } from "../support/failures.ts";
import { useTestDatabase } from "../support/test-database.ts";

const database = useTestDatabase();

function openPool(size: number, maxWaiting: number, url = database.url) {
  const settings = { purpose: "tests", size, maxWaiting, refusal: "too many tests are under way" };
  const pool = createPool(url, settings, createLog("silent"));
  onTestFinished(() => pool.end());
  return pool;
}

const sleepInDatabase = { text: "SELECT pg_sleep(60)" };

test("a caller gets RESOURCE_EXHAUSTED if all connections are in use and the queue is full", async () => {
  const pool = openPool(1, 0);
  const held = await pool.connect();
  const error = await failureOf(query(pool, { text: "SELECT" }));
  expect({ code: error.code, message: error.rawMessage }).toEqual({
    code: Code.ResourceExhausted,
    message: "too many tests are under way",
  });
  expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
  pool.release(held, false);
  expect(await query(pool, { text: "SELECT 1 AS one" })).toEqual([{ one: 1 }]);
});

test("a caller gets UNAVAILABLE if the database cannot be reached, and frees its place in the pool", async () => {
  const nowhere = new URL(database.url);
  nowhere.port = "1";
  const pool = openPool(1, 0, nowhere.href);
  for (let round = 0; round < 3; round += 1) {
    const error = await failureOf(query(pool, { text: "SELECT" }));
    expect({ code: error.code, message: error.rawMessage }).toEqual({
      code: Code.Unavailable,
      message: "the database is unavailable",
    });
  }
});

test("a broken connection is replaced", async () => {
  const pool = openPool(1, 10);
  const running = failureOf(query(pool, sleepInDatabase));
  await terminateSleeper();
  expect((await running).code).toBe(Code.Unavailable);
  expect(await query(pool, { text: "SELECT 1 AS one" })).toEqual([{ one: 1 }]);
});

test("a thousand callers that cancel together end the running statements with few further connections", async () => {
  const size = 4;
  const pool = openPool(size, 1000);
  const callers = new AbortController();
  const calls = Array.from({ length: 1000 }, () => query(pool, sleepInDatabase, callers.signal));
  const ends = calls.map((call) => call.catch((error: unknown) => error));
  await vi.waitFor(async () => expect(await sleepers()).toBe(size), { timeout: 20_000 });
  const before = await sessions();
  callers.abort(new Error("gone"));
  for (const end of await Promise.all(ends)) expect(end).toMatchObject({ message: "gone" });
  await vi.waitFor(async () => expect(await sleepers()).toBe(0), { timeout: 20_000 });
  // One connection to cancel each running statement, and those with which this test queries.
  await vi.waitFor(async () => expect(await sessions()).toBeGreaterThanOrEqual(before + size), {
    timeout: 20_000,
  });
  expect((await sessions()) - before).toBeLessThanOrEqual(2 * size + 10);
});

async function sleepers(): Promise<number> {
  const { rows } = await database.pool.query(
    "SELECT count(*)::integer AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
  );
  return rows[0].count;
}

/** The number of connections that have been opened to the database so far. */
async function sessions(): Promise<number> {
  const { rows } = await database.pool.query(
    "SELECT sessions::integer AS sessions FROM pg_stat_database WHERE datname = current_database()",
  );
  return rows[0].sessions;
}

async function terminateSleeper(): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rows } = await database.pool.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'`,
      );
      expect(rows).toHaveLength(1);
    },
    { timeout: 20_000 },
  );
}
