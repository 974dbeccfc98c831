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

/** How long a migration waits for a lock: that of another instance which migrates, or one on a table. */
const lockTimeoutMs = 60_000;

/** How long the goodbye to the server may take. */
const closingMs = 500;

/**
 * Brings the schema up, all steps or none. Instances that start together take turns, by an advisory lock. If nothing is
 * pending, the database is only read, so a role that does not own the tables can start the service.
 *
 * @param direction `down` reverts the newest step only
 * @returns the names of the steps taken
 * @throws StartupError if the schema is newer than this version
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
  // If the connection breaks, the step that runs fails, too; without a listener the process would end.
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

/** The names of the migrations that this version needs and the database has not got. */
export async function pendingMigrations(database: pg.ClientBase): Promise<string[]> {
  const [known, applied] = [await knownMigrations(), await appliedMigrations(database)];
  return known.difference(applied).values().toArray().sort();
}

/**
 * A version that started on a newer schema could write what that schema no longer means.
 *
 * @throws StartupError that names the migrations which this version does not have
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

/** The table's name as SQL; undefined if there is none yet. */
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
 * The schema of this service's tables; before there are any, the one that new tables go to. Of other schemas on the
 * search path, another program may have a `schema_migrations` of its own.
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
    `no schema of search_path ${rows[0]?.search_path} is there: create one, or set another search_path in DATABASE_URL`,
  );
}
