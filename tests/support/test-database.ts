import { randomUUID } from "node:crypto";
import type pg from "pg";
import { afterAll, beforeAll, inject, onTestFinished } from "vitest";
import type { ConnectionPool } from "../../src/database/pool.ts";
import { execute } from "./connection.ts";
import { connectionPoolOver, createTestPool } from "./test-pool.ts";

/** A separate database for a test file: migrated, and empty at first. */
export interface TestDatabase {
  readonly url: string;
  /** For the statements of a test. */
  readonly pool: pg.Pool;
  /** The same connections, for the code under test. */
  readonly connections: ConnectionPool;
}

/** Creates a database for all tests of a file, and drops it after the last one. Call it at the top of the file. */
export function useTestDatabase(): TestDatabase {
  const template = new URL(inject("templateDatabaseUrl")).pathname.slice(1);
  const database = newDatabase();
  const pool = createTestPool(database.url);

  beforeAll(() => database.create(`TEMPLATE ${template}`));
  afterAll(async () => {
    await pool.end();
    await database.drop();
  });
  return { url: database.url, pool, connections: connectionPoolOver(pool) };
}

/** Creates a database without any tables. It is dropped when the test finishes. @returns its URL */
export async function createEmptyDatabase(): Promise<string> {
  const database = newDatabase();
  await database.create();
  onTestFinished(() => database.drop());
  return database.url;
}

/** A database with a new name, which the caller creates and drops. */
function newDatabase() {
  const name = `test_${randomUUID().replaceAll("-", "_")}`;
  const server = new URL(inject("templateDatabaseUrl"));
  server.pathname = "/postgres";
  const url = new URL(server);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    async create(options = "") {
      await execute(server.href, `CREATE DATABASE ${name} ${options}`);
    },
    async drop() {
      await execute(server.href, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}
