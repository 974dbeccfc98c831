import { readdir } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runner } from "node-pg-migrate";
import pg from "pg";
import { StartupError } from "../errors/startup-error.ts";
import type { Log } from "../telemetry/log.ts";

const migrationsTable = "schema_migrations";
const migrationsDir = path.join(import.meta.dirname, "../../migrations");

const connectTimeoutMs = 5_000;

/** How long a migration waits for a lock: the advisory lock of another instance that migrates, or one on a table. */
const lockTimeoutMs = 60_000;

/** How long closing the connection may take. */
const closingMs = 500;

/**
 * Applies all pending migrations, or none if one fails. An advisory lock makes instances that start concurrently
 * migrate one after another. If no migration is pending, the database is only read, so a role that does not own the
 * tables can start the service.
 *
 * @param direction `down` reverts the newest migration only
 * @returns the names of the migrations that were applied or reverted
 * @throws StartupError if the schema is newer than this version, or no schema of the search path exists
 */
export async function migrate(
  databaseUrl: string,
  log: Log,
  direction: "up" | "down" = "up",
): Promise<string[]> {
  const dbClient = new pg.Client({
    connectionString: databaseUrl,
    application_name: "daily-aggregator migrations",
    connectionTimeoutMillis: connectTimeoutMs,
    lock_timeout: lockTimeoutMs,
    keepAlive: true,
  });
  // Without a listener, a broken connection would end the process. The running query fails in any case.
  dbClient.on("error", () => {});
  try {
    await dbClient.connect();
    await requireKnownSchema(dbClient);
    if (direction === "up" && (await pendingMigrations(dbClient)).length === 0) return [];
    const schema = await requireSchema(dbClient);
    const steps = await runner({
      dbClient,
      dir: migrationsDir,
      migrationsTable,
      migrationsSchema: schema,
      direction,
      advisoryLockMode: "wait",
      log: (message) => log.debug(message),
    });
    return steps.map(({ name }) => name);
  } finally {
    await Promise.race([dbClient.end(), sleep(closingMs, undefined, { ref: false })]);
  }
}

/** The names of this version's migrations that are not applied to the database, in order. */
export async function pendingMigrations(database: pg.ClientBase): Promise<string[]> {
  const [known, applied] = [await knownMigrations(), await appliedMigrations(database)];
  return known.difference(applied).values().toArray().sort();
}

/**
 * Rejects a schema that is newer than this version: data that this version writes could be wrong in that schema.
 *
 * @throws StartupError if migrations are applied that this version does not have; the message names them
 */
export async function requireKnownSchema(database: pg.ClientBase): Promise<void> {
  const [known, applied] = [await knownMigrations(), await appliedMigrations(database)];
  const unknown = applied.difference(known).values().toArray().sort();
  if (unknown.length === 0) return;
  throw new StartupError(
    `the schema is newer than this version, which has no migration ${unknown.join(", ")}: run a newer version`,
  );
}

async function knownMigrations(): Promise<Set<string>> {
  const files = await readdir(migrationsDir);
  return new Set(files.map((file) => path.parse(file).name));
}

async function appliedMigrations(database: pg.ClientBase): Promise<Set<string>> {
  const table = await findMigrationsTable(database);
  if (table === undefined) return new Set();
  const { rows } = await database.query<{ name: string }>(`SELECT name FROM ${table}`);
  return new Set(rows.map(({ name }) => name));
}

/** The name of the migrations table as SQL; undefined if the table does not exist yet. */
async function findMigrationsTable(database: pg.ClientBase): Promise<string | undefined> {
  const schema = await findSchema(database);
  if (schema === null) return undefined;
  const table = `${pg.escapeIdentifier(schema)}.${migrationsTable}`;
  const { rows } = await database.query<{ exists: boolean }>({
    text: "SELECT to_regclass($1) IS NOT NULL AS exists",
    values: [table],
  });
  return rows[0]?.exists ? table : undefined;
}

/**
 * The schema of this service's tables, or if there are none yet, the schema in which they will be created; null if no
 * schema of the search path exists. The table `schema_migrations` must be named with this schema, because another
 * schema of the search path may contain a `schema_migrations` of another program.
 */
async function findSchema(database: pg.ClientBase): Promise<string | null> {
  const { rows } = await database.query<{ schema: string | null }>(`
    SELECT coalesce(
      (
        SELECT nspname
        FROM pg_class
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE pg_class.oid = to_regclass('learning_log')
      ),
      current_schema()
    ) AS schema`);
  return rows[0]?.schema ?? null;
}

async function requireSchema(database: pg.Client): Promise<string> {
  const schema = await findSchema(database);
  if (schema !== null) return schema;
  const { rows } = await database.query<{ search_path: string }>("SHOW search_path");
  throw new StartupError(
    `no schema in search_path ${rows[0]?.search_path} exists: create one, or set another search_path in DATABASE_URL`,
  );
}
