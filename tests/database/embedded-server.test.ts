import pg from "pg";
import { expect, onTestFinished, test } from "vitest";
import { startEmbeddedServer } from "../../src/database/embedded-server.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { killPostgres, makeDataDir, useDataTemplate } from "../support/service-process.ts";

const template = useDataTemplate();
const log = createLog("silent");

test("starts again at once after a crash, though a statement of the crashed server is still running", async () => {
  const dataDir = await makeDataDir(template.path);
  const crashing = await startEmbeddedServer({ dataDir, log });
  await startBusyStatement(crashing.url);
  await killPostgres(dataDir, "SIGKILL");

  const server = await startEmbeddedServer({ dataDir, log });
  onTestFinished(() => server.stop());
  const client = new pg.Client(server.url);
  await client.connect();
  onTestFinished(() => client.end());
  await expect(client.query("SELECT 1 AS one")).resolves.toMatchObject({ rows: [{ one: 1 }] });
});

/** Keeps one process of the server busy for a while: with a loop, because one that waits notices a crash. */
async function startBusyStatement(url: string): Promise<void> {
  const client = new pg.Client(url);
  client.on("error", () => {});
  await client.connect();
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
