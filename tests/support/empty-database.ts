import { randomUUID } from "node:crypto";
import pg from "pg";
import { inject, onTestFinished } from "vitest";

/** A database without anything in it, dropped when the test finishes. */
export async function createEmptyDatabase(): Promise<string> {
  const server = new URL(inject("templateDatabaseUrl"));
  server.pathname = "/postgres";
  const name = `test_${randomUUID().replaceAll("-", "_")}`;
  await execute(server.href, `CREATE DATABASE ${name}`);
  onTestFinished(() => execute(server.href, `DROP DATABASE ${name} WITH (FORCE)`));
  const database = new URL(server);
  database.pathname = `/${name}`;
  return database.href;
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
