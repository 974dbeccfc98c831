import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import {
  chown,
  type FileHandle,
  link,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { StartupError } from "../../errors/startup-error.ts";
import type { DataFolder } from "./data-folder.ts";
import { lastFatalLine, logSize } from "./server-log.ts";
import type { ServerPrograms } from "./server-programs.ts";
import { serverRetryMs, TransientError } from "./transient-error.ts";

const run = promisify(execFile);

/** The longest that a start may take: longer than the recovery after a crash does with a log of usual size. */
const startTimeoutMs = 60_000;

/** The longest that making a cluster may take, on a slow disk. */
const initializeTimeoutMs = 300_000;

/** How many seconds a shutdown may take before the server is stopped at once, and recovers at its next start. */
const stopTimeoutSeconds = 20;

/**
 * The PostgreSQL server of a data folder: `postgres/` has the data, `postgres.log` what the server says, `password` its
 * password.
 */
export class PostgresCluster {
  readonly #programs: ServerPrograms;
  readonly #settings: Readonly<Record<string, string>>;
  readonly #folder: DataFolder;
  readonly #data: string;
  readonly #logFile: string;
  readonly #passwordFile: string;

  constructor(programs: ServerPrograms, folder: DataFolder, settings: Readonly<Record<string, string>>) {
    this.#programs = programs;
    this.#settings = settings;
    this.#folder = folder;
    this.#data = path.join(folder.path, "postgres");
    this.#logFile = path.join(folder.path, "postgres.log");
    this.#passwordFile = path.join(folder.path, "password");
  }

  /** Makes the data the first time. */
  async initialize(): Promise<void> {
    if (existsSync(this.#data)) return;
    await this.#run(this.#programs.initdb, ["--version"]).catch((error: unknown) => {
      throw new StartupError(`cannot run the embedded PostgreSQL${this.#asUser()}: ${reasonOf(error)}`);
    });
    await this.#makePassword();
    await this.#makeData();
  }

  async isRunning(): Promise<boolean> {
    return this.#run(this.#programs.pg_ctl, ["status", `--pgdata=${this.#data}`]).then(
      () => true,
      () => false,
    );
  }

  /**
   * Runs the program itself: pg_ctl would do it through a shell, which reads more into a path than there is.
   *
   * @throws TransientError if the server may start a moment later
   */
  async start(port: number): Promise<void> {
    const settings = {
      port: String(port),
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      log_checkpoints: "off",
      ...this.#settings,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
    const loggedBefore = await logSize(this.#logFile);
    await using log = await this.#openLog();
    const server = spawn(this.#programs.postgres, ["-D", this.#data, ...flags], {
      ...this.#folder.account,
      cwd: this.#folder.path,
      // A session of its own: Ctrl-C in the terminal is for the service, which shuts the server down in order.
      detached: true,
      windowsHide: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    let ended: string | undefined;
    server.once("error", (error) => {
      ended = error.message;
    });
    server.once("exit", (code, signal) => {
      ended ??= `it ended with ${code ?? signal}`;
    });
    const deadline = performance.now() + startTimeoutMs;
    while (!(await this.#isReady(server.pid))) {
      if (ended !== undefined) {
        const reason = (await lastFatalLine(this.#logFile, loggedBefore)) ?? ended;
        const message = `the embedded PostgreSQL in DATA_DIR ${this.#folder.path} does not start: ${reason}`;
        throw passingReason.test(reason)
          ? new TransientError(message, serverRetryMs)
          : new StartupError(message);
      }
      if (performance.now() > deadline) {
        throw new StartupError(
          `the embedded PostgreSQL in DATA_DIR ${this.#folder.path} is still starting after ${startTimeoutMs / 1000} seconds; see ${this.#logFile}, and try again`,
        );
      }
      await sleep(20);
    }
    server.unref();
  }

  async stop(): Promise<void> {
    const stop = (mode: string) =>
      this.#run(this.#programs.pg_ctl, [
        "stop",
        `--mode=${mode}`,
        `--timeout=${stopTimeoutSeconds}`,
        "--wait",
        `--pgdata=${this.#data}`,
      ]);
    try {
      await stop("fast");
    } catch {
      if (await this.isRunning()) await stop("immediate");
    }
  }

  async readPassword(): Promise<string> {
    return readFile(this.#passwordFile, "utf8").catch((error: unknown) => {
      throw new StartupError(
        `cannot read the password file in DATA_DIR ${this.#folder.path}: ${reasonOf(error)}`,
      );
    });
  }

  /** @throws TransientError if there is none at this moment */
  async readPort(): Promise<number> {
    const { port } = await this.#readStatus();
    if (port) return Number(port);
    const message = `the embedded PostgreSQL in DATA_DIR ${this.#folder.path} is just starting or stopping`;
    throw new TransientError(message, serverRetryMs);
  }

  async #isReady(pid: number | undefined): Promise<boolean> {
    const status = await this.#readStatus();
    return status.pid === String(pid) && status.state === "ready";
  }

  /** Which line is what: https://www.postgresql.org/docs/current/storage-file-layout.html, and miscadmin.h */
  async #readStatus(): Promise<{ pid?: string; port?: string; state?: string }> {
    const text = await readFile(path.join(this.#data, "postmaster.pid"), "utf8").catch(() => "");
    const [pid = "", , , port = "", , , , state = ""] = text.split("\n");
    return { pid, port, state: state.trim() };
  }

  async #openLog(): Promise<FileHandle> {
    try {
      const log = await open(this.#logFile, "a", 0o600);
      const { uid, gid } = this.#folder.account;
      if (uid !== undefined && gid !== undefined) await log.chown(uid, gid);
      return log;
    } catch (error) {
      throw new StartupError(`cannot write DATA_DIR ${this.#folder.path}: ${reasonOf(error)}`);
    }
  }

  /**
   * Works in a folder of its own, so that one that was cut off is not taken for a cluster. Of processes that start
   * together, the first to finish wins.
   */
  async #makeData(): Promise<void> {
    const prefix = "postgres.initializing-";
    const unfinished = await mkdtemp(path.join(this.#folder.path, prefix));
    await this.#giveToAccount(unfinished);
    const flags = ["--username=postgres", "--auth=scram-sha-256", `--pwfile=${this.#passwordFile}`];
    const encoding = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"];
    const clock = ["--set=timezone=UTC", "--set=log_timezone=UTC"];
    try {
      await this.#run(
        this.#programs.initdb,
        [...flags, ...encoding, ...clock, `--pgdata=${unfinished}`],
        initializeTimeoutMs,
      );
      await rename(unfinished, this.#data);
    } catch (error) {
      if (!existsSync(this.#data)) {
        throw new StartupError(`cannot make a database in DATA_DIR ${this.#folder.path}: ${reasonOf(error)}`);
      }
    }
    const leftOver = (await readdir(this.#folder.path)).filter((name) => name.startsWith(prefix));
    // What another process is still filling does not go away now: that one sees to it.
    await Promise.allSettled(
      leftOver.map((name) => rm(path.join(this.#folder.path, name), { recursive: true, force: true })),
    );
  }

  /** Whoever comes first makes it: processes that start together agree on one. */
  async #makePassword(): Promise<void> {
    const draft = `${this.#passwordFile}.${randomBytes(8).toString("hex")}`;
    await writeFile(draft, randomBytes(24).toString("hex"), { mode: 0o600 });
    await this.#giveToAccount(draft);
    await link(draft, this.#passwordFile).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await rm(draft);
  }

  async #giveToAccount(file: string): Promise<void> {
    const { uid, gid } = this.#folder.account;
    if (uid !== undefined && gid !== undefined) await chown(file, uid, gid);
  }

  async #run(program: string, args: readonly string[], timeout = 60_000): Promise<void> {
    await run(program, args, { ...this.#folder.account, cwd: this.#folder.path, timeout });
  }

  #asUser(): string {
    const { uid } = this.#folder.account;
    return uid === undefined ? "" : ` as user ${uid} (it refuses to run as root)`;
  }
}

/**
 * Why a server may not start now, and yet a moment later: another process is starting one, backends of one that was
 * killed have not noticed yet, or somebody else was faster to take the port.
 */
const passingReason = /lock file "postmaster\.pid"|is still in use|could not create any TCP\/IP sockets/;

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = "stderr" in error ? String(error.stderr).trim() : "";
  return stderr.split("\n")[0] || error.message;
}
