import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { startEmbeddedServer } from "../../../src/database/embedded/embedded-server.ts";
import { migrate } from "../../../src/database/migrations.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { type Connection, connect, execute } from "../../support/connection.ts";
import { removeFolder } from "../../support/remove-folder.ts";

/** The PostgreSQL server on which everything is measured. */
export interface BenchmarkServer {
  readonly url: string;
  stop(): Promise<void>;
}

/** A migrated, empty database of one benchmark's own. */
export interface BenchmarkDatabase extends AsyncDisposable {
  readonly url: string;
  /** For what is not measured. */
  readonly admin: Connection;
  /** Every turn starts with empty tables and nothing left to write, so that the order of turns says nothing. */
  reset(): Promise<void>;
  /** @throws if the log or the aggregates hold another number of entries */
  expectEntries(count: number): Promise<void>;
}

/** The rivals' table: the columns, the key and the index of `learning_log`, and nothing else. */
export const bareTable = "bare_learning_log";

const log = createLog("error");

/** The server that BENCH_DATABASE_URL names; without it, an embedded one with PostgreSQL's own defaults. */
export async function startServer(): Promise<BenchmarkServer> {
  const given = process.env.BENCH_DATABASE_URL;
  if (given) return { url: given, stop: async () => {} };
  // On the disk of TMPDIR: on a file system in memory, a commit would cost nothing.
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

  return {
    url: url.href,
    admin,
    async reset() {
      await admin.query(`TRUNCATE learning_log, learning_log_aggregates, ${bareTable}`);
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
