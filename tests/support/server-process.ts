import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";

/** How a process ended: with a code, or by a signal. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** All that it wrote to standard error. */
  readonly stderr: string;
}

interface LaunchOptions {
  /** The whole environment of the process; by default, that of this process. */
  readonly env?: NodeJS.ProcessEnv;
  /** Flags of Node. */
  readonly flags?: readonly string[];
}

const root = path.join(import.meta.dirname, "../..");

/** The script of the service. */
export const serviceScript = path.join(root, "src/main.ts");

/** How long a process may take to end before it is killed. */
const endTimeoutMs = 15_000;

/**
 * A server in a separate process: the service, or a rival in a benchmark. Its script writes a line of JSON with its
 * `url` to standard output when it listens.
 *
 * Disposing of it ends it as a deployment does, with SIGTERM. It is killed when this process exits.
 */
export class ServerProcess implements AsyncDisposable {
  /** Resolves with the URL when the server listens. Rejects with the last lines of its output if it ends before. */
  readonly listening: Promise<string>;
  /** Resolves when the process has ended and all of its output has been read. */
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  readonly #output: string[] = [];
  #url: string | undefined;

  /** Starts the process, and does not wait until it listens. */
  static launch(script: string, options: LaunchOptions = {}): ServerProcess {
    return new ServerProcess(script, options);
  }

  /**
   * Starts the process, and waits until it listens.
   *
   * @throws if it ends instead, with the last lines of its output
   */
  static async start(script: string, options: LaunchOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess(script, options);
    await server.listening;
    return server;
  }

  private constructor(script: string, { env = process.env, flags = [] }: LaunchOptions) {
    const child = spawn(process.execPath, [...flags, script], { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    const kill = () => child.kill("SIGKILL");
    process.once("exit", kill);

    const { promise: listening, resolve, reject } = Promise.withResolvers<string>();
    createInterface(child.stdout).on("line", (line) => {
      this.#output.push(line);
      this.#url ??= /"url":"([^"]+)"/.exec(line)?.[1];
      if (this.#url !== undefined) resolve(this.#url);
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    createInterface(child.stderr).on("line", (line) => this.#output.push(line));

    this.ended = once(child, "close").then(([code, signal]) => {
      process.off("exit", kill);
      const name = path.relative(root, script);
      reject(new Error(`${name} ended with ${code ?? signal}:\n${this.lastLines()}`));
      return { code, signal, stderr };
    });
    this.listening = listening;
    // Not every test waits for the URL.
    listening.catch(() => {});
  }

  /** @throws if the server does not listen yet */
  get url(): string {
    if (this.#url === undefined) throw new Error("the server does not listen yet");
    return this.#url;
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error("the process could not be started");
    return pid;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The lines that the process has written to standard output and standard error. */
  get output(): readonly string[] {
    return this.#output;
  }

  /** The last lines of the output, which usually have the reason why the process ended. */
  lastLines(): string {
    return this.#output.slice(-10).join("\n");
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends a signal, and waits until the process has ended. */
  kill(signal: NodeJS.Signals): Promise<Ended> {
    this.signal(signal);
    return this.ended;
  }

  /** Sends a signal, and kills the process if it has not ended after 15 seconds. @returns also how long it took */
  async end(signal: NodeJS.Signals): Promise<Ended & { readonly ms: number }> {
    const start = performance.now();
    const force = setTimeout(() => this.signal("SIGKILL"), endTimeoutMs);
    const ended = await this.kill(signal);
    clearTimeout(force);
    return { ...ended, ms: performance.now() - start };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A stopped process does not handle SIGTERM until it continues.
    this.signal("SIGCONT");
    await this.end("SIGTERM");
  }
}
