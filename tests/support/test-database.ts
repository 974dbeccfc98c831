import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, inject } from "vitest";
import type { ConnectionPool } from "../../src/database/pool.ts";
import { connectionPoolOver, createTestPool } from "./test-pool.ts";

/** A migrated, empty database of the calling test file's own. */
export interface TestDatabase {
  readonly url: string;
  /** For the statements of a test. */
  readonly pool: pg.Pool;
  /** The same connections, for the code under test. */
  readonly connections: ConnectionPool;
}

/** Call it at the top of a test file: the database is there in every test, and dropped after the last one. */
export function useTestDatabase(): TestDatabase {
  const template = new URL(inject("templateDatabaseUrl"));
  const url = new URL(template);
  url.pathname = `/test_${randomUUID().replaceAll("-", "_")}`;
  const server = new URL(template);
  server.pathname = "/postgres";
  const pool = createTestPool(url.href);

  beforeAll(() =>
    execute(server.href, `CREATE DATABASE ${url.pathname.slice(1)} TEMPLATE ${template.pathname.slice(1)}`),
  );
  afterAll(async () => {
    await pool.end();
    await execute(server.href, `DROP DATABASE ${url.pathname.slice(1)} WITH (FORCE)`);
  });
  return { url: url.href, pool, connections: connectionPoolOver(pool) };
}

async function execute(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
