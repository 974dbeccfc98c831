import { randomUUID } from "node:crypto";
import { describe, expect, onTestFinished, test } from "vitest";
import { migrate, pendingMigrations } from "../../src/database/migrations.ts";
import { transaction } from "../../src/database/query.ts";
import { StartupError } from "../../src/errors/startup-error.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { grpcClient } from "../support/clients.ts";
import { runCommand } from "../support/command.ts";
import { execute } from "../support/connection.ts";
import { healthClient } from "../support/grpc-js.ts";
import { createEmptyDatabase } from "../support/test-database.ts";
import { connectionPoolOver, createTestPool } from "../support/test-pool.ts";
import { startOwnService } from "../support/test-service.ts";
import { describeSchema } from "./describe-schema.ts";

const log = createLog("error");

function newEntry() {
  return { requestId: randomUUID(), userId: "mia", wordCount: 1 };
}

test("migrations go up, all the way down to an empty database, and up again", async () => {
  const url = await createEmptyDatabase();
  const steps = await migrate(url, log);
  expect(steps.length).toBeGreaterThan(0);
  const schema = await schemaOf(url);
  expect(schema).toMatch(/^table learning_log\n {2}request_id uuid NOT NULL$/m);

  const back: string[] = [];
  for (let step = await migrate(url, log, "down"); step.length > 0; step = await migrate(url, log, "down")) {
    back.push(...step);
  }
  expect(back).toEqual(steps.toReversed());
  await expect(schemaOf(url)).resolves.toBe("");

  await expect(migrate(url, log)).resolves.toEqual(steps);
  await expect(schemaOf(url)).resolves.toBe(schema);
  await expect(migrate(url, log)).resolves.toEqual([]);
});

test("instances that start concurrently on an empty database all become ready", async () => {
  const url = await createEmptyDatabase();
  const services = await Promise.all([1, 2, 3, 4].map(() => startOwnService(url)));
  for (const service of services) {
    await grpcClient(service.url).createEntry(newEntry());
    await expect(fetch(`${service.url}/readyz`)).resolves.toMatchObject({ status: 200 });
  }
});

test("with MIGRATE_ON_START=false, an instance is not ready until the migrations it names are applied", async () => {
  const url = await createEmptyDatabase();
  const service = await startOwnService(url, { migrateOnStart: false });
  const pool = createTestPool(url);
  const pending = await transaction(connectionPoolOver(pool), pendingMigrations).finally(() => pool.end());
  expect(pending.length).toBeGreaterThan(0);

  const response = await fetch(`${service.url}/readyz`);
  expect(response.status).toBe(503);
  await expect(response.text()).resolves.toBe(`not ready: migrations are pending: ${pending.join(", ")}\n`);
  await expect(fetch(`${service.url}/healthz`)).resolves.toMatchObject({ status: 200 });
  const health = healthClient(service.url);
  await expect(health.unary("check", { service: "" })).resolves.toEqual({ status: "NOT_SERVING" });
  const client = grpcClient(service.url);

  await migrate(url, log);
  await expect
    .poll(() => health.unary("check", { service: "" }), { timeout: 25_000, interval: 100 })
    .toEqual({ status: "SERVING" });
  await expect(fetch(`${service.url}/readyz`)).resolves.toMatchObject({ status: 200 });
  await client.createEntry(newEntry());
});

describe("a schema that a newer version has migrated", () => {
  const line =
    "the schema is newer than this version, which has no migration 9999999999999_later: run a newer version";

  async function migrateFurther(url: string): Promise<void> {
    await execute(url, "INSERT INTO schema_migrations (name, run_on) VALUES ('9999999999999_later', now())");
  }

  test.for([true, false])("prevents a start with MIGRATE_ON_START=%s", async (migrateOnStart) => {
    const url = await createEmptyDatabase();
    await migrate(url, log);
    await migrateFurther(url);
    await expect(startOwnService(url, { migrateOnStart })).rejects.toThrow(new StartupError(line));
  });

  test.for(["up", "down"])("makes `npm run migrate -- %s` fail with a one-line error", async (direction) => {
    const url = await createEmptyDatabase();
    await migrate(url, log);
    await migrateFurther(url);
    const result = await runCommand("src/commands/migrate.ts", [direction], { env: { DATABASE_URL: url } });
    expect(result).toEqual({ code: 1, stdout: "", stderr: `migrate: ${line}\n` });
  });

  test("does not affect an instance that is already running", async () => {
    const url = await createEmptyDatabase();
    const service = await startOwnService(url);
    await migrateFurther(url);
    await grpcClient(service.url).createEntry(newEntry());
    await expect(fetch(`${service.url}/readyz`)).resolves.toMatchObject({ status: 200 });
  });
});

test("search_path in DATABASE_URL selects the schema of the tables, and other schemas stay unchanged", async () => {
  const url = await createEmptyDatabase();
  await execute(url, "CREATE SCHEMA learning; CREATE TABLE schema_migrations (version text)");
  const inLearning = `${url}?options=-c%20search_path=learning,public`;
  const service = await startOwnService(inLearning);
  await expect(fetch(`${service.url}/readyz`)).resolves.toMatchObject({ status: 200 });
  await grpcClient(service.url).createEntry(newEntry());
  await expect(migrate(inLearning, log)).resolves.toEqual([]);
  const rows = await execute(
    url,
    "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('learning', 'public') ORDER BY 1, 2",
  );
  expect(rows).toEqual([
    { schemaname: "learning", tablename: "learning_log" },
    { schemaname: "learning", tablename: "learning_log_aggregates" },
    { schemaname: "learning", tablename: "schema_migrations" },
    { schemaname: "public", tablename: "schema_migrations" },
  ]);
});

test("a search_path without any existing schema prevents the start with a one-line error", async () => {
  const url = await createEmptyDatabase();
  await expect(startOwnService(`${url}?options=-c%20search_path=nowhere`)).rejects.toThrow(
    "cannot migrate the database: no schema in search_path nowhere exists: create one, or set another search_path in DATABASE_URL",
  );
});

test("a role that may only read and write the tables can start the service if no migration is pending", async () => {
  const url = await createEmptyDatabase();
  await migrate(url, log);
  const role = `writer_${randomUUID().replaceAll("-", "_")}`;
  await execute(
    url,
    `CREATE ROLE ${role} LOGIN PASSWORD 'secret';
    GRANT SELECT, INSERT, UPDATE, DELETE ON learning_log, learning_log_aggregates TO ${role};
    GRANT SELECT ON schema_migrations TO ${role}`,
  );
  onTestFinished(async () => {
    await execute(url, `DROP OWNED BY ${role}; DROP ROLE ${role}`);
  });
  const { href } = Object.assign(new URL(url), { username: role, password: "secret" });
  const service = await startOwnService(href);
  await grpcClient(service.url).createEntry(newEntry());
  await service.stop();
});

test("`npm run migrate` applies all pending migrations, and `down` reverts one", async () => {
  const DATABASE_URL = await createEmptyDatabase();
  const run = (...args: string[]) => runCommand("src/commands/migrate.ts", args, { env: { DATABASE_URL } });
  await expect(run()).resolves.toMatchObject({
    code: 0,
    stderr: "",
    stdout: expect.stringMatching(/^up: \d+_.+\n$/),
  });
  await expect(run("up")).resolves.toMatchObject({ code: 0, stderr: "", stdout: "up: nothing to do\n" });
  await expect(run("down")).resolves.toMatchObject({
    code: 0,
    stderr: "",
    stdout: expect.stringMatching(/^down: \d+_[^,]+\n$/),
  });
});

test.for([
  ["without DATABASE_URL", [], "", "set DATABASE_URL: the embedded PostgreSQL is migrated at every start"],
  ["with an unknown direction", ["sideways"], "postgres://localhost/x", "usage: migrate [up|down]"],
  [
    "for an unreachable database",
    [],
    "postgres://u:secret@127.0.0.1:1/x",
    "connect ECONNREFUSED 127.0.0.1:1",
  ],
] as const)("`npm run migrate` %s fails with a one-line error", async ([, args, DATABASE_URL, message]) => {
  const result = await runCommand("src/commands/migrate.ts", args, { env: { DATABASE_URL } });
  expect(result).toEqual({ code: 1, stdout: "", stderr: `migrate: ${message}\n` });
});

async function schemaOf(url: string): Promise<string> {
  const pool = createTestPool(url);
  return describeSchema(pool).finally(() => pool.end());
}
