import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** A server that runs as a process of its own. */
export interface Child extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

const endTimeoutMs = 15_000;

/**
 * Starts a script that writes a line of JSON with its `url` when it listens.
 *
 * @param flags of Node
 * @throws what the script wrote, if it ends instead of listening
 */
export async function startChild(
  script: string,
  env: Readonly<Record<string, string>> = {},
  flags: readonly string[] = [],
): Promise<Child> {
  const child = spawn(process.execPath, [...flags, script], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  // Nothing stays behind when this process is ended.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  void exited.then(() => process.off("exit", kill));
  const listening = Promise.withResolvers<string>();
  const output: string[] = [];
  const keep = (line: string) => {
    output.push(line);
    if (output.length > 10) output.shift();
  };
  createInterface(child.stderr).on("line", keep);
  createInterface(child.stdout).on("line", (line) => {
    keep(line);
    const url = /"url":"([^"]+)"/.exec(line)?.[1];
    if (url !== undefined) listening.resolve(url);
  });
  void exited.then(() => listening.reject(new Error(`${script} ended:\n${output.join("\n")}`)));

  return {
    url: await listening.promise,
    // A process that writes was started.
    pid: child.pid as number,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      const force = setTimeout(() => child.kill("SIGKILL"), endTimeoutMs);
      await exited;
      clearTimeout(force);
    },
  };
}
