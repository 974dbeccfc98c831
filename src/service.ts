import { setTimeout as sleep } from "node:timers/promises";
import { ConnectError } from "@connectrpc/connect";
import type pg from "pg";
import { about } from "./about.ts";
import { LearnerChanges } from "./changes/learner-changes.ts";
import { WatchedLearners } from "./changes/watched-learners.ts";
import type { Config } from "./config.ts";
import { warnOfDifferentTimeZoneRules } from "./database/compare-time-zone-rules.ts";
import { describeConnectError } from "./database/connect-error.ts";
import { startEmbeddedServer } from "./database/embedded/embedded-server.ts";
import { migrate, pendingMigrations, requireKnownSchema } from "./database/migrations.ts";
import { Notifications } from "./database/notifications.ts";
import { createPools, endPools, type Pools } from "./database/pools.ts";
import { EntryWriter } from "./entries/entry-writer.ts";
import { RecentEntries } from "./entries/recent-entries.ts";
import { StartupError } from "./errors/startup-error.ts";
import { Readiness } from "./health/readiness.ts";
import { createRoutes, createSummaryMemo } from "./routes.ts";
import { Calendars } from "./summaries/calendars.ts";
import { SummaryFeeds } from "./summaries/summary-feeds.ts";
import type { Log } from "./telemetry/log.ts";
import { createErrorInterceptor } from "./transport/error-interceptor.ts";
import { type HttpServer, listen } from "./transport/http-server.ts";
import { createListeners } from "./transport/request-listeners.ts";
import type { Listeners } from "./transport/unary/http/listeners.ts";
import { createValidationInterceptor } from "./transport/validation-interceptor.ts";
import { withCheckedJson } from "./validation/checked-json.ts";
import { createRequestValidator } from "./validation/request-validator.ts";

/** A running service. */
export interface Service {
  /** The URL of the service, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /** Resolves if the service cannot continue: the embedded PostgreSQL has ended and cannot be restarted. */
  readonly failed: Promise<StartupError>;
  /** Reports "not ready" to health checks, lets in-flight calls finish, then closes everything. */
  stop(): Promise<void>;
}

/** How long in-flight calls may take to finish during a stop. The whole stop takes less than 10 seconds. */
const drainMs = 7_000;

/** A caller of WatchSummary that has received nothing for this long gets a response without periods. */
const watchKeepaliveMs = 15_000;

/**
 * How long a stop waits, after the drain, for each of: pending writes, notifications, and the connection pools. Only
 * a stuck database can still delay these.
 */
const closingMs = 500;

/**
 * Starts every part of the service after those that it needs. If a part fails to start, stops the parts that were
 * started before it.
 *
 * @throws StartupError that describes the failure
 */
export async function startService(config: Config, log: Log): Promise<Service> {
  await using started = new AsyncDisposableStack();

  let databaseUrl = config.databaseUrl;
  let failed = new Promise<StartupError>(() => {});
  if (databaseUrl === undefined) {
    const server = await startEmbeddedServer({ dataDir: config.dataDir, log });
    started.defer(() => server.stop());
    databaseUrl = server.url;
    failed = server.failed;
  }
  const pools = createPools(databaseUrl, config.databasePools, config.writing.maxStatements, log);
  started.defer(() => waitAtMost(closingMs, endPools(pools)));
  await prepareDatabase(pools, databaseUrl, config, log);

  const notifications = new Notifications(databaseUrl, log);
  const recent = new RecentEntries(notifications, config.recentEntries);
  const watched = new WatchedLearners(notifications);
  started.defer(() => watched.close());
  const changes = new LearnerChanges(notifications, watched);
  const memo = createSummaryMemo(changes, config.summaryCacheBytes);
  notifications.start();
  started.defer(() => waitAtMost(closingMs, notifications.close()));
  const writer = new EntryWriter({ pools: pools.writes, changes, recent }, config.writing);
  started.defer(() => waitAtMost(closingMs, writer.drain()));

  const readiness = new Readiness(() => notReadyReason(pools));
  await readiness.start();
  started.defer(() => readiness.drain());

  const calendars = new Calendars();
  // A database that was restarted may have new time zone rules.
  notifications.followGaps(() => calendars.clear());
  const feeds = new SummaryFeeds({
    pools: { small: pools.watches, large: pools.largeReads },
    calendars,
    changes,
    draining: readiness.draining,
    keepaliveMs: watchKeepaliveMs,
  });
  const listeners = createListeners({
    routes: withCheckedJson(
      createRoutes({ pools, changes, recent, writer, calendars, memo, feeds, readiness }),
      log,
    ),
    interceptors: [createErrorInterceptor(log), createValidationInterceptor(createRequestValidator())],
    readiness,
    about,
    corsOrigins: config.corsOrigins,
    unaryPath: config.unaryPath,
  });
  const server = await listenOn(config, listeners);
  started.defer(() => server.close(drainMs));
  started.defer(() => readiness.drain());

  // The embedded server already uses the newest time zone rules on this machine.
  if (config.databaseUrl !== undefined) warnOfDifferentTimeZoneRules(config.databaseUrl, log);
  const running = started.move();
  return { url: urlOf(server), failed, stop: () => running.disposeAsync() };
}

/** Waits for a promise, but at most `ms` milliseconds. Work that is still pending then ends with the process. */
async function waitAtMost(ms: number, promise: Promise<void>): Promise<void> {
  await Promise.race([promise, sleep(ms, undefined, { ref: false })]);
}

async function prepareDatabase(
  { probes }: Pools,
  databaseUrl: string,
  config: Config,
  log: Log,
): Promise<void> {
  let client: pg.PoolClient;
  try {
    client = await probes.connect();
  } catch (error) {
    throw new StartupError(`cannot connect to the database (DATABASE_URL): ${describeConnectError(error)}`);
  }
  try {
    await requireKnownSchema(client);
  } catch (error) {
    if (error instanceof StartupError) throw error;
    throw new StartupError(`cannot read the schema of the database: ${describeConnectError(error)}`);
  } finally {
    probes.release(client, false);
  }
  if (!config.migrateOnStart) return;
  try {
    const steps = await migrate(databaseUrl, log);
    if (steps.length > 0) log.info({ steps }, "migrated the database");
  } catch (error) {
    throw new StartupError(`cannot migrate the database: ${describeConnectError(error)}`);
  }
}

/** @returns why the service cannot answer calls; undefined if it can */
async function notReadyReason({ probes }: Pools): Promise<string | undefined> {
  const client = await probes.connect();
  let isBroken = true;
  try {
    const pending = await pendingMigrations(client);
    isBroken = false;
    return describePending(pending);
  } finally {
    probes.release(client, isBroken);
  }
}

function describePending(pending: readonly string[]): string | undefined {
  return pending.length > 0 ? `migrations are pending: ${pending.join(", ")}` : undefined;
}

async function listenOn(config: Config, listeners: Listeners): Promise<HttpServer> {
  try {
    return await listen(listeners, config.host, config.port, { idleMs: config.idleTimeoutMs });
  } catch (error) {
    throw new StartupError(`cannot listen on HOST ${config.host}, PORT ${config.port}: ${reasonOf(error)}`);
  }
}

function urlOf({ address: { address, family, port } }: HttpServer): string {
  return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}

/** Returns the first line of an error's message. An AggregateError stands for the last error in it. */
function reasonOf(error: unknown): string {
  const cause = error instanceof ConnectError ? error.cause : error;
  const last = cause instanceof AggregateError ? cause.errors.at(-1) : cause;
  const text = last instanceof Error ? last.message : String(last);
  return text.split("\n")[0] ?? text;
}
