import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";

/** The service as a process of its own, on the embedded server of a folder. */
export interface ServiceChild {
  readonly url: string;
  readonly process: ChildProcess;
  /** The last lines that it wrote, to tell why it ended. */
  lastWords(): string;
  /** Sends the signal, and waits for the end, which is forced after 15 seconds. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null; ms: number }>;
}

const main = path.join(import.meta.dirname, "../../src/main.ts");
const endTimeoutMs = 15_000;

/** @throws what the service wrote, if it ends instead of listening */
export async function startServiceChild(dataDir: string): Promise<ServiceChild> {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env.PATH, DATA_DIR: dataDir, PORT: "0", LOG_LEVEL: "info" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  const output: string[] = [];
  child.stderr.on("data", (text) => output.push(String(text)));
  const lastWords = () => output.slice(-10).join("\n");
  const lines = createInterface(child.stdout);
  const listening = Promise.withResolvers<string>();
  lines.on("line", (line) => {
    output.push(line);
    const url = /"url":"([^"]+)"/.exec(line)?.[1];
    if (url !== undefined) listening.resolve(url);
  });
  void exited.then(([code]) =>
    listening.reject(new Error(`the service ended with ${code}:\n${lastWords()}`)),
  );

  return {
    url: await listening.promise,
    process: child,
    lastWords,
    async end(signal) {
      const start = performance.now();
      child.kill(signal);
      const force = setTimeout(() => child.kill("SIGKILL"), endTimeoutMs);
      const [code, endedBy] = await exited;
      clearTimeout(force);
      return { code, signal: endedBy, ms: performance.now() - start };
    },
  };
}

/** The first process of the folder's PostgreSQL; undefined if it does not run. */
export async function postmasterPid(dataDir: string): Promise<number | undefined> {
  const [pid] = await postmasterFile(dataDir).catch(() => []);
  return pid === undefined ? undefined : Number(pid);
}

export async function embeddedServerUrl(dataDir: string): Promise<string> {
  const port = (await postmasterFile(dataDir))[3];
  const password = await readFile(path.join(dataDir, "password"), "utf8");
  return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
}

/** Its lines: https://www.postgresql.org/docs/current/storage-file-layout.html */
async function postmasterFile(dataDir: string): Promise<string[]> {
  return (await readFile(path.join(dataDir, "postgres/postmaster.pid"), "utf8")).split("\n");
}
