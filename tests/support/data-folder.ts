import { execFile } from "node:child_process";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { startEmbeddedServer } from "../../src/database/embedded/embedded-server.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { removeFolder } from "./remove-folder.ts";

// The folders in which the service keeps its data, DATA_DIR, and the embedded PostgreSQL that runs in them.

const run = promisify(execFile);

/**
 * Creates a data folder. When the test finishes, PostgreSQL is stopped if it still runs in the folder, and the folder
 * is removed.
 *
 * @param template a folder to copy
 */
export async function makeDataDir(template?: string): Promise<string> {
  const dataDir = await createDataDir();
  onTestFinished(() => removeDataDir(dataDir));
  if (template !== undefined) await run("cp", ["-a", `${template}/.`, dataDir]);
  return dataDir;
}

/**
 * Creates a data folder that no service has used, for tests to copy: copying is faster than creating a cluster. Call it
 * at the top of a test file.
 */
export function useDataTemplate(): { readonly path: string } {
  let template: string | undefined;
  beforeAll(async () => {
    template = await createDataDir();
    const server = await startEmbeddedServer({ dataDir: template, log: createLog("error") });
    await server.stop();
  });
  afterAll(async () => {
    if (template) await removeFolder(template);
  });
  return {
    get path() {
      if (template === undefined) throw new Error("the template exists only while the tests run");
      return template;
    },
  };
}

/** Creates a data folder that the caller removes with {@link removeDataDir}. */
export function createDataDir(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), "daily-aggregator-test-"));
}

/** Stops PostgreSQL if it still runs in a data folder, and removes the folder. */
export async function removeDataDir(dataDir: string): Promise<void> {
  if (await isPostgresRunning(dataDir)) await killPostgres(dataDir, "SIGQUIT");
  await removeFolder(dataDir);
}

/** Sends a signal to the postmaster of a data folder, and waits until it has ended. */
export async function killPostgres(dataDir: string, signal: NodeJS.Signals): Promise<void> {
  const pid = await postmasterPid(dataDir);
  process.kill(pid, signal);
  while (isAlive(pid)) await sleep(10);
}

export async function isPostgresRunning(dataDir: string): Promise<boolean> {
  const pid = await findPostmasterPid(dataDir);
  return pid !== undefined && isAlive(pid);
}

/** The process id of the postmaster of a data folder. @throws if the folder has no postmaster.pid */
export async function postmasterPid(dataDir: string): Promise<number> {
  return Number((await postmasterFile(dataDir))[0]);
}

/** The process id of the postmaster of a data folder; undefined if it has stopped cleanly or never started. */
export async function findPostmasterPid(dataDir: string): Promise<number | undefined> {
  return postmasterPid(dataDir).catch(() => undefined);
}

/** The URL of the database in a data folder. PostgreSQL must be running. */
export async function embeddedDatabaseUrl(dataDir: string): Promise<string> {
  const port = (await postmasterFile(dataDir))[3];
  const password = await readFile(path.join(dataDir, "password"), "utf8");
  return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
}

/** The lines of postmaster.pid: https://www.postgresql.org/docs/current/storage-file-layout.html */
async function postmasterFile(dataDir: string): Promise<string[]> {
  return (await readFile(path.join(dataDir, "postgres/postmaster.pid"), "utf8")).split("\n");
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
