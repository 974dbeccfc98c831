import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { PostgreSqlContainer } from "@testcontainers/postgresql";
import { getContainerRuntimeClient } from "testcontainers";
import type { TestProject } from "vitest/node";
import { startEmbeddedServer } from "../../src/database/embedded/embedded-server.ts";
import { migrate } from "../../src/database/migrations.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { execute } from "./connection.ts";
import { startOlderPostgres } from "./older-postgres.ts";
import { removeFolder } from "./remove-folder.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The template of all test databases: migrated, empty, and without connections. */
    templateDatabaseUrl: string;
  }
}

interface TestServer {
  readonly name: string;
  /** The URL for a user who may create databases. */
  readonly url: string;
  stop(): Promise<unknown>;
}

const newestVersion = "18";
const postgresVersion = process.env.TEST_POSTGRES_VERSION || newestVersion;
const log = createLog("error");

/**
 * Starts one PostgreSQL server for the whole run. TEST_DATABASE selects it: `testcontainers`, `embedded`, or the URL of
 * a server on which the tests create databases. If TEST_DATABASE is unset, the tests use a container if one can be
 * started, and the embedded server otherwise. TEST_POSTGRES_VERSION selects the major version of a container or an
 * embedded server.
 */
export default async function setup(project: TestProject) {
  const server = await startServer(process.env.TEST_DATABASE || undefined);
  process.stdout.write(`Tests run on PostgreSQL: ${server.name}\n`);
  const template = new URL(server.url);
  template.pathname = `/daily_aggregator_template_${process.pid}_${Date.now()}`;
  await execute(server.url, `CREATE DATABASE ${template.pathname.slice(1)}`);
  await migrate(template.href, log);
  project.provide("templateDatabaseUrl", template.href);

  return async () => {
    await execute(server.url, `DROP DATABASE ${template.pathname.slice(1)}`);
    await server.stop();
  };
}

async function startServer(choice: string | undefined): Promise<TestServer> {
  if (choice === "embedded") return startEmbedded("embedded");
  if (choice === "testcontainers") return startContainer();
  if (choice !== undefined) {
    return { name: "the server of TEST_DATABASE", url: choice, stop: async () => {} };
  }
  try {
    return await startContainer();
  } catch (error) {
    const [reason] = String(error).split("\n");
    return startEmbedded(`embedded (no container: ${reason})`);
  }
}

async function startContainer(): Promise<TestServer> {
  await getContainerRuntimeClient();
  const container = await new PostgreSqlContainer(`postgres:${postgresVersion}`)
    .withCommand(["postgres", "-c", "fsync=off", "-c", "max_connections=300"])
    .start();
  return {
    name: `postgres:${postgresVersion} in a container`,
    url: container.getConnectionUri(),
    stop: () => container.stop(),
  };
}

async function startEmbedded(name: string): Promise<TestServer> {
  const dataDir = await mkdtemp(path.join(tmpdir(), "daily-aggregator-test-"));
  const settings = { fsync: "off", max_connections: "300" };
  const server =
    postgresVersion === newestVersion
      ? await startEmbeddedServer({ dataDir, settings, log })
      : await startOlderPostgres(postgresVersion, dataDir, settings, log);
  return {
    name: `${postgresVersion}, ${name}`,
    url: server.url,
    async stop() {
      await server.stop();
      await removeFolder(dataDir);
    },
  };
}
