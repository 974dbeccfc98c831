import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import { startEmbeddedServer } from "../../src/database/embedded/embedded-server.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { removeFolder } from "./remove-folder.ts";

const run = promisify(execFile);
const root = path.join(import.meta.dirname, "../..");

/** How a process ended: with a code, or by a signal. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** All that it wrote. */
  readonly stderr: string;
}

/** The service as an operator starts it: a process of its own. */
export interface ServiceProcess {
  /** Where it is reached, as its log says; fails if it ends before. */
  readonly url: Promise<string>;
  readonly ended: Promise<Ended>;
  /** Sends a signal, and waits for the end. */
  kill(signal: NodeJS.Signals): Promise<Ended>;
}

/** Starts the service on any free port; it is killed when the test finishes, if it still runs then. */
export function startServiceProcess(variables: Record<string, string>): ServiceProcess {
  const child = spawn(process.execPath, ["src/main.ts"], {
    cwd: root,
    // Nothing else of what configures the service may come from the environment of the tests.
    env: { PATH: process.env.PATH, UNARY_PATH: process.env.UNARY_PATH, PORT: "0", ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const { promise: url, resolve: found, reject } = Promise.withResolvers<string>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    const match = /"listening on (\S+)"/.exec(stdout);
    if (match?.[1]) found(match[1]);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const ended = new Promise<Ended>((resolve) => {
    child.once("close", (code, signal) => {
      reject(new Error(`the service ended with ${code ?? signal}: ${stderr}`));
      resolve({ code, signal, stderr });
    });
  });
  // Not every test waits for the URL.
  url.catch(() => {});
  const kill = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  onTestFinished(async () => {
    await kill("SIGKILL");
  });
  return { url, ended, kill };
}

/**
 * A folder for the service's data, of the calling test's own. When the test finishes, the PostgreSQL that still runs
 * in it is stopped, and the folder removed.
 *
 * @param template a folder to copy
 */
export async function makeDataDir(template?: string): Promise<string> {
  const dataDir = await makeFolder();
  onTestFinished(async () => {
    if (await isPostgresRunning(dataDir)) await killPostgres(dataDir, "SIGQUIT");
    await removeFolder(dataDir);
  });
  if (template !== undefined) await run("cp", ["-a", `${template}/.`, dataDir]);
  return dataDir;
}

/**
 * Call it at the top of a test file: a folder with data that no service has used yet, to copy, because that is quicker
 * than to make it anew.
 */
export function useDataTemplate(): { readonly path: string } {
  let template: string | undefined;
  beforeAll(async () => {
    template = await makeFolder();
    const server = await startEmbeddedServer({ dataDir: template, log: createLog("error") });
    await server.stop();
  });
  afterAll(async () => {
    if (template) await removeFolder(template);
  });
  return {
    get path() {
      if (template === undefined) throw new Error("the template is there during the tests only");
      return template;
    },
  };
}

function makeFolder(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), "daily-aggregator-test-"));
}

/** Waits until the PostgreSQL of a data folder is gone. */
export async function killPostgres(dataDir: string, signal: NodeJS.Signals): Promise<void> {
  const pid = await postmasterPid(dataDir);
  process.kill(pid, signal);
  while (isAlive(pid)) await sleep(10);
}

export async function isPostgresRunning(dataDir: string): Promise<boolean> {
  return existsSync(pidFile(dataDir)) && isAlive(await postmasterPid(dataDir));
}

/** The process at the root of a data folder's PostgreSQL. */
export async function postmasterPid(dataDir: string): Promise<number> {
  return Number((await readFile(pidFile(dataDir), "utf8")).split("\n")[0]);
}

/** The database of a data folder whose PostgreSQL runs. */
export async function databaseUrl(dataDir: string): Promise<string> {
  const port = (await readFile(pidFile(dataDir), "utf8")).split("\n")[3];
  const password = await readFile(path.join(dataDir, "password"), "utf8");
  return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
}

function pidFile(dataDir: string): string {
  return path.join(dataDir, "postgres/postmaster.pid");
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
