import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { startEmbeddedServer } from "../../../src/database/embedded/embedded-server.ts";
import { migrate } from "../../../src/database/migrations.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { type Connection, connect, execute } from "../../support/connection.ts";
import { removeFolder } from "../../support/remove-folder.ts";

/** The PostgreSQL server of all benchmarks. */
export interface BenchmarkServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** A separate database for a benchmark: migrated, and empty at first. */
export interface BenchmarkDatabase extends AsyncDisposable {
  readonly url: string;
  /** For statements that are not measured. */
  readonly admin: Connection;
  /** Empties the tables, and writes all pending data to disk, so that the order of the turns does not matter. */
  reset(): Promise<void>;
  /** @throws if the log or the aggregates have a different number of entries */
  expectEntries(count: number): Promise<void>;
}

/** A table for pgbench: it has the columns, the key and the index of `learning_log`, and nothing else. */
export const bareTable = "bare_learning_log";

/** Tables for pgbench that equal those of the service, checks included. */
export const rivalTables = { log: "rival_learning_log", aggregates: "rival_learning_log_aggregates" };

const log = createLog("error");

/** The server of BENCH_DATABASE_URL. If this is unset, starts an embedded server with PostgreSQL's default settings. */
export async function startServer(): Promise<BenchmarkServer> {
  const given = process.env.BENCH_DATABASE_URL;
  if (given) return { url: given, stop: async () => {} };
  // TMPDIR must be on a disk: in a memory file system, a commit would take no time.
  const dataDir = await mkdtemp(path.join(tmpdir(), "daily-aggregator-bench-"));
  const server = await startEmbeddedServer({ dataDir, log });
  return {
    url: server.url,
    async stop() {
      await server.stop();
      await removeFolder(dataDir);
    },
  };
}

export async function createDatabase(server: BenchmarkServer): Promise<BenchmarkDatabase> {
  const url = new URL(server.url);
  url.pathname = `/daily_aggregator_bench_${process.pid}_${Date.now()}`;
  const name = url.pathname.slice(1);
  await execute(server.url, `CREATE DATABASE ${name}`);
  await migrate(url.href, log);
  const admin = await connect(url.href);
  await admin.query(`CREATE TABLE ${bareTable} (LIKE learning_log INCLUDING DEFAULTS INCLUDING INDEXES)`);
  await admin.query(`CREATE TABLE ${rivalTables.log} (LIKE learning_log INCLUDING ALL)`);
  await admin.query(`CREATE TABLE ${rivalTables.aggregates} (LIKE learning_log_aggregates INCLUDING ALL)`);

  return {
    url: url.href,
    admin,
    async reset() {
      const rivals = [bareTable, ...Object.values(rivalTables)];
      await admin.query(`TRUNCATE learning_log, learning_log_aggregates, ${rivals.join(", ")}`);
      await admin.query("CHECKPOINT");
    },
    async expectEntries(count) {
      const { rows } = await admin.query<{ logged: number; aggregated: number }>(`
        SELECT
          (SELECT count(*) FROM learning_log)::integer AS logged,
          (SELECT coalesce(sum(entry_count), 0) FROM learning_log_aggregates)::integer AS aggregated`);
      const { logged, aggregated } = rows[0] ?? {};
      if (logged === count && aggregated === count) return;
      throw new Error(`${count} entries were recorded; ${logged} are in the log, ${aggregated} aggregated`);
    },
    async [Symbol.asyncDispose]() {
      await admin.end();
      await execute(server.url, `DROP DATABASE ${name} WITH (FORCE)`);
    },
  };
}
