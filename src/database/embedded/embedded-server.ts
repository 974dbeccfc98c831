import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { StartupError } from "../../errors/startup-error.ts";
import type { Log } from "../../telemetry/log.ts";
import { describeConnectError } from "../connect-error.ts";
import { type DataFolder, prepareDataFolder } from "./data-folder.ts";
import { PostgresCluster } from "./postgres-cluster.ts";
import { installServerPrograms } from "./server-programs.ts";
import { isServiceAlive, ServiceRecord } from "./service-record.ts";
import { retryTransient, serverRetryMs, TransientError } from "./transient-error.ts";

/** A PostgreSQL server that was installed with npm and runs beside this process, on the loopback interface. */
export interface EmbeddedServer {
  /** Contains the password, so it must not be logged. */
  readonly url: string;
  /** Resolves if the connection to the server is lost and cannot be restored. */
  readonly failed: Promise<StartupError>;
  /** Shuts the server down cleanly. Terminates the connections that are still open. */
  stop(): Promise<void>;
}

interface EmbeddedServerOptions {
  /** Created if it is missing; for its content, see {@link PostgresCluster}. */
  readonly dataDir: string;
  /** Settings of PostgreSQL, in addition to those that this module needs. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log: Log;
}

/** The connection that holds the lock on the server. `lost` resolves when the connection ends. */
interface Claim {
  readonly client: pg.Client;
  readonly lost: Promise<void>;
}

/** How long to retry while the folder is in use: the server releases the lock of a killed service almost at once. */
const claimRetryMs = 1_000;

const connectTimeoutMs = 5_000;

/** The longest time to wait for a connection to close. */
const closingMs = 500;

/**
 * Starts the server. The first start creates its data. Takes over a server that an earlier process left running.
 *
 *     starting ──> running ──the server or one of its processes is killed──> recovering ──> running, at the same URL
 *                                                                               └──> failed
 *
 * @throws StartupError if the server cannot be started, or another service uses the folder
 */
export async function startEmbeddedServer(options: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const { log } = options;
  const folder = await prepareDataFolder(options.dataDir, log);
  const cluster = await openCluster(folder, options.settings);
  await using failedStart = new AsyncDisposableStack();
  const record = await ServiceRecord.open(folder.path);
  failedStart.defer(() => record.close());
  await retryTransient(requireFree);
  await cluster.initialize();
  const password = await cluster.readPassword();
  const { url, port, ...started } = await retryTransient(async () => {
    const wasRunning = await cluster.isRunning();
    if (!wasRunning) await cluster.start(await freePort());
    const port = await cluster.readPort();
    const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    try {
      return { url, port, claimed: await claim(url) };
    } catch (error) {
      if (!wasRunning && !(error instanceof TransientError)) await cluster.stop();
      throw error;
    }
  });
  failedStart.defer(() => endClient(started.claimed.client));
  failedStart.defer(() => cluster.stop());
  await record.write();
  failedStart.move();

  let { claimed } = started;
  let isStopping = false;
  let recovering: Promise<void> | undefined;
  const { promise: failed, resolve: fail } = Promise.withResolvers<StartupError>();
  watch();
  return { url, failed, stop };

  /** Recovers when the connection that holds the lock ends. The server closes it if one of its processes is killed. */
  function watch() {
    claimed.lost.then(() => {
      if (isStopping) return;
      log.error("lost the connection to the embedded PostgreSQL");
      recovering = recover().catch((error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        fail(
          new StartupError(`lost the connection to the embedded PostgreSQL and cannot restore it: ${reason}`),
        );
      });
    });
  }

  async function recover() {
    await retryTransient(async () => {
      if (isStopping) return;
      if (!(await cluster.isRunning())) await cluster.start(port);
      claimed = await claim(url);
      watch();
      log.info("restored the connection to the embedded PostgreSQL");
    }, serverRetryMs);
  }

  async function stop() {
    isStopping = true;
    await recovering;
    // Release the lock and the record last, so that no other service takes over a server that is about to stop.
    if (await cluster.isRunning()) await cluster.stop();
    await endClient(claimed.client);
    await record.close();
  }

  /**
   * Opens a connection and takes an advisory lock on it. Of several processes that start together, the one that gets
   * the lock uses the server.
   */
  async function claim(url: string): Promise<Claim> {
    const client = newClient(url);
    const lost = new Promise<void>((resolve) => client.once("end", resolve));
    let isClaimed = false;
    try {
      await client.connect();
      const { rows } = await client.query(
        "SELECT pg_try_advisory_lock(hashtext('daily-aggregator')) AS claimed",
      );
      isClaimed = rows[0].claimed;
    } catch (error) {
      await endClient(client);
      const message = `cannot connect to the PostgreSQL in DATA_DIR ${folder.path}: ${describeConnectError(error)}`;
      // An error that the server reports is permanent, except 57P01 to 57P03: the server is starting or stopping.
      const isFinal = error instanceof pg.DatabaseError && !error.code?.startsWith("57P");
      throw isFinal ? new StartupError(message) : new TransientError(message, serverRetryMs);
    }
    try {
      // The lock alone is not sufficient: a running service loses it while its server recovers.
      if (!isClaimed) throw inUse();
      await requireFree();
      return { client, lost };
    } catch (error) {
      await endClient(client);
      throw error;
    }
  }

  async function requireFree() {
    if (await record.isOtherAlive()) throw inUse();
  }

  function inUse(): TransientError {
    return new TransientError(`DATA_DIR ${folder.path} is in use by another daily-aggregator`, claimRetryMs);
  }
}

/**
 * Finds the server of a running service, for commands that use its data at the same time.
 *
 * @returns the server's URL, with the password; undefined if no service uses the folder
 * @throws StartupError if the folder cannot be used, or the server's password or port cannot be read
 */
export async function findEmbeddedServer(dataDir: string, log: Log): Promise<string | undefined> {
  if (!(await isServiceAlive(dataDir))) return undefined;
  const folder = await prepareDataFolder(dataDir, log);
  const cluster = await openCluster(folder);
  const password = await cluster.readPassword();
  return `postgres://postgres:${password}@127.0.0.1:${await cluster.readPort()}/postgres`;
}

async function openCluster(
  folder: DataFolder,
  settings: Readonly<Record<string, string>> = {},
): Promise<PostgresCluster> {
  return new PostgresCluster(await installServerPrograms(folder.path), folder, settings);
}

function newClient(connectionString: string): pg.Client {
  const client = new pg.Client({
    connectionString,
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: connectTimeoutMs,
    keepAlive: true,
  });
  // Without a listener, losing the connection would end the process.
  client.on("error", () => {});
  return client;
}

async function endClient(client: pg.Client): Promise<void> {
  await Promise.race([client.end(), sleep(closingMs, undefined, { ref: false })]);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve, reject) => server.once("listening", resolve).once("error", reject));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  // A TCP server's address is an object.
  return (address as { port: number }).port;
}
