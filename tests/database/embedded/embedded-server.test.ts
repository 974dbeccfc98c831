import { chmod, mkdtemp, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { compareTimeZoneRules } from "../../../src/database/compare-time-zone-rules.ts";
import { type EmbeddedServer, startEmbeddedServer } from "../../../src/database/embedded/embedded-server.ts";
import { newestRelease } from "../../../src/database/embedded/time-zone-rules.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { connect, execute } from "../../support/connection.ts";
import { killPostgres, makeDataDir, useDataTemplate } from "../../support/data-folder.ts";
import { removeFolder } from "../../support/remove-folder.ts";

// The tests start and stop whole servers, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

const template = useDataTemplate();
const log = createLog("silent");

test("the server restarts at the same address after it is killed, even while a statement still runs", async () => {
  const dataDir = await makeDataDir(template.path);
  const server = await startServer(dataDir);
  await startBusyStatement(server.url);
  await killPostgres(dataDir, "SIGKILL");
  await expect.poll(() => canQuery(server.url), { timeout: 60_000 }).toBe(true);
});

test("the server reports a failure if it cannot be restarted", async () => {
  const dataDir = await makeDataDir(template.path);
  const server = await startServer(dataDir);
  await truncate(path.join(dataDir, "postgres/global/pg_control"), 0);
  await killPostgres(dataDir, "SIGKILL");
  const { message } = await server.failed;
  expect(message).toContain("lost the connection to the embedded PostgreSQL and cannot restore it: ");
});

test.runIf((await newestRelease()) === process.versions.tz)(
  "the server has the time zone rules of this process, even for years that only a rule covers",
  async () => {
    const server = await startServer(await makeDataDir(template.path));
    for (const year of ["1975", "2026", "2039", "2096"]) {
      await expect(compareTimeZoneRules(server.url, new Date(year)), year).resolves.toEqual([]);
    }
  },
);

test.for(["$HOME $(touch oh-no) `touch oh-no`", `a "quoted" and 'quoted' name; with \\ größe 单词 `])(
  "the server keeps its data in a folder named %s",
  async (name) => {
    const parent = await makeDataDir();
    // Under root, the data is stored elsewhere unless the server's account can access this folder.
    await chmod(parent, 0o755);
    const dataDir = path.join(parent, name);
    const server = await startServer(dataDir);
    expect(await execute(server.url, "SHOW data_directory")).toEqual([
      { data_directory: path.join(dataDir, "postgres") },
    ]);
    await server.stop();
  },
);

test("the server rejects a data folder with a line break in its path", async () => {
  const dataDir = path.join(await makeDataDir(), "two\nlines");
  await expect(startEmbeddedServer({ dataDir, log })).rejects.toThrow(/has a line break in its path$/);
});

test.runIf(process.platform === "linux")("the server rejects a data folder in /proc at once", async () => {
  await expect(startEmbeddedServer({ dataDir: "/proc/x", log })).rejects.toThrow(
    /^cannot write DATA_DIR \/proc\/x: /,
  );
});

test.runIf(process.getuid?.() === 0)(
  "under root, the server keeps its data in a folder that only root can access, and keeps its permissions",
  async () => {
    const closed = await mkdtemp(path.join(tmpdir(), "daily-aggregator-test-"));
    const dataDir = path.join(closed, "project/.data");
    onTestFinished(async () => {
      await removeFolder(dataDir);
      await removeFolder(closed);
    });
    for (const value of ["created", "kept"]) {
      const server = await startServer(dataDir);
      await execute(server.url, "CREATE TABLE IF NOT EXISTS tried AS SELECT 1 AS one");
      const rows = await execute(server.url, "SELECT count(*)::int AS rows FROM tried");
      expect(rows, value).toEqual([{ rows: 1 }]);
      await server.stop();
    }
    const { uid, mode } = await stat(closed);
    expect({ uid, mode: mode & 0o777 }).toEqual({ uid: 0, mode: 0o700 });
  },
);

async function startServer(dataDir: string): Promise<EmbeddedServer> {
  const server = await startEmbeddedServer({ dataDir, log });
  onTestFinished(() => server.stop());
  return server;
}

async function canQuery(url: string): Promise<boolean> {
  return execute(url, "SELECT").then(
    () => true,
    () => false,
  );
}

/** Keeps one process of the server busy for 3 seconds, in a loop, because a process that waits notices a crash. */
async function startBusyStatement(url: string): Promise<void> {
  const client = await connect(url);
  const { promise: running, resolve } = Promise.withResolvers<void>();
  client.on("notice", () => resolve());
  const loop = `
    DO $$ BEGIN
      RAISE WARNING 'running';
      WHILE clock_timestamp() < statement_timestamp() + interval '3 s' LOOP END LOOP;
    END $$`;
  client.query(loop).catch(() => {});
  await running;
}
