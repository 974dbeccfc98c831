import { readdir } from "node:fs/promises";
import path from "node:path";
import { runner } from "node-pg-migrate";
import pg from "pg";
import type { Log } from "../telemetry/log.ts";
import type { ConnectionPool } from "./pool.ts";
import { query } from "./query.ts";

const migrationsTable = "schema_migrations";
const migrationsDir = path.join(import.meta.dirname, "../../migrations");

/**
 * Brings the schema up, all steps or none. Instances that start together take turns, by an advisory lock.
 *
 * @param direction `down` takes back the newest step only
 * @returns the names of the steps taken
 */
export async function migrate(
  databaseUrl: string,
  log: Log,
  direction: "up" | "down" = "up",
): Promise<string[]> {
  const dbClient = new pg.Client({ connectionString: databaseUrl });
  // If it breaks, the step that runs fails, too; without a listener the process would end.
  dbClient.on("error", () => {});
  await dbClient.connect();
  try {
    const steps = await runner({
      dbClient,
      dir: migrationsDir,
      migrationsTable,
      direction,
      advisoryLockMode: "wait",
      log: (message) => log.debug(message),
    });
    return steps.map(({ name }) => name);
  } finally {
    await dbClient.end();
  }
}

/** The names of the migrations that this version needs and the database has not got. */
export async function pendingMigrations(pool: ConnectionPool): Promise<string[]> {
  const needed = (await readdir(migrationsDir)).map((file) => path.parse(file).name);
  const applied = await appliedMigrations(pool);
  return needed.filter((name) => !applied.has(name)).sort();
}

async function appliedMigrations(pool: ConnectionPool): Promise<Set<string>> {
  const [found] = await query<{ exists: boolean }>(pool, {
    text: "SELECT to_regclass($1) IS NOT NULL AS exists",
    values: [migrationsTable],
  });
  if (!found?.exists) return new Set();
  const steps = await query<{ name: string }>(pool, { text: `SELECT name FROM ${migrationsTable}` });
  return new Set(steps.map(({ name }) => name));
}
