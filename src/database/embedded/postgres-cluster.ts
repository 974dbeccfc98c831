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

/** The longest time that a start may take. Crash recovery with a WAL of the usual size takes less. */
const startTimeoutMs = 60_000;

/** The longest time that initdb may take, on a slow disk. */
const initializeTimeoutMs = 300_000;

/** The longest time for a fast shutdown. An immediate shutdown follows, and the next start runs crash recovery. */
const stopTimeoutSeconds = 20;

/**
 * The PostgreSQL server of a data folder. `postgres/` holds the data, `postgres.log` the server's log, and `password`
 * the password of the user `postgres`.
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

  /** Creates the password and the data, unless the data exists. */
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
   * Runs `postgres` directly, because `pg_ctl start` runs it through a shell, which interprets characters of the path.
   *
   * @throws TransientError if a retry may succeed
   * @throws StartupError if the server does not start, or is not ready in time
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
      // In a separate session, the server does not receive Ctrl-C; the service does, and shuts the server down.
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
        throw transientReason.test(reason)
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

  /** @throws TransientError if the server has not published its port, because it is starting or stopping */
  async readPort(): Promise<number> {
    const { port } = await this.#readStatus();
    if (port) return Number(port);
    const message = `the embedded PostgreSQL in DATA_DIR ${this.#folder.path} is starting or stopping`;
    throw new TransientError(message, serverRetryMs);
  }

  async #isReady(pid: number | undefined): Promise<boolean> {
    const status = await this.#readStatus();
    return status.pid === String(pid) && status.state === "ready";
  }

  /**
   * Reads postmaster.pid. https://www.postgresql.org/docs/current/storage-file-layout.html and miscadmin.h define its
   * lines.
   */
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
   * Runs initdb in a temporary folder and renames that folder, so that an interrupted initdb leaves no incomplete
   * cluster. If several processes start together, the first to finish wins, and the others use its cluster.
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
    // Removing a folder that another process is still filling may fail. That process then removes it.
    await Promise.allSettled(
      leftOver.map((name) => rm(path.join(this.#folder.path, name), { recursive: true, force: true })),
    );
  }

  /** Creates the password file, unless it exists: processes that start together use the password of the first one. */
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
 * Matches the failures of a start that a retry may overcome: another process is starting the server, backends of a
 * killed server are still running, or another program took the port.
 */
const transientReason = /lock file "postmaster\.pid"|is still in use|could not create any TCP\/IP sockets/;

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = "stderr" in error ? String(error.stderr).trim() : "";
  return stderr.split("\n")[0] || error.message;
}
