import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { expect, vi } from "vitest";

/** The service as a process of its own; disposing of it ends it as a deployment does. */
export interface ServiceChild extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  readonly process: ChildProcess;
  /** The lines that it wrote. */
  readonly output: readonly string[];
  /** The last of them, to tell why it ended. */
  lastWords(): string;
  /** Sends the signal, and waits for the end, which is forced after 15 seconds. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null; ms: number }>;
}

/** The script of the service. */
export const main = path.join(import.meta.dirname, "../../src/main.ts");
const endTimeoutMs = 15_000;

/**
 * @param variables where its database is, and what else configures it
 * @throws what the service wrote, if it ends instead of listening
 */
export async function startServiceChild(variables: Readonly<Record<string, string>>): Promise<ServiceChild> {
  const child = spawn(process.execPath, [main], {
    env: {
      PATH: process.env.PATH,
      UNARY_PATH: process.env.UNARY_PATH,
      PORT: "0",
      LOG_LEVEL: "info",
      ...variables,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  // Nothing stays behind when this process is ended.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  void exited.then(() => process.off("exit", kill));
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
  const end = async (signal: NodeJS.Signals) => {
    const start = performance.now();
    child.kill(signal);
    const force = setTimeout(() => child.kill("SIGKILL"), endTimeoutMs);
    const [code, endedBy] = await exited;
    clearTimeout(force);
    return { code, signal: endedBy, ms: performance.now() - start };
  };

  return {
    url: await listening.promise,
    // A process that writes was started.
    pid: child.pid as number,
    process: child,
    output,
    lastWords,
    end,
    async [Symbol.asyncDispose]() {
      // One that was stopped hears no other signal.
      child.kill("SIGCONT");
      await end("SIGTERM");
    },
  };
}

/** What `/readyz` says follows what it is about after some seconds. */
export async function waitUntilReady(url: string, timeoutMs = 10_000): Promise<void> {
  await vi.waitFor(
    async () => {
      const answer = await fetch(`${url}/readyz`, { headers: { connection: "close" } });
      expect(await answer.text()).toBe("ready\n");
    },
    { timeout: timeoutMs, interval: 100 },
  );
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
