import { Writable } from "node:stream";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import type { Config } from "../../src/config.ts";
import { type Service, startService } from "../../src/service.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { grpcClient, type LearningLogClient } from "./clients.ts";
import { testConfig } from "./test-config.ts";
import { type TestDatabase, useTestDatabase } from "./test-database.ts";

// The whole service, in the process of the tests, on a free port.

/** A service that runs during the tests of a file. */
export interface TestService {
  /** Where the service listens. It is available only while the tests run. */
  readonly url: string;
  readonly database: TestDatabase;
}

/** Runs a service with a separate database during the tests of a file. Call it at the top of the file. */
export function useTestService(overrides: Partial<Config> = {}): TestService {
  const database = useTestDatabase();
  const instance = useInstance(database, overrides);
  return {
    get url() {
      return instance().url;
    },
    database,
  };
}

/** A gRPC client for each of two instances of the service, and their common database. */
export interface TwoServices {
  readonly a: LearningLogClient;
  readonly b: LearningLogClient;
  readonly database: TestDatabase;
}

/** Runs two instances of the service during the tests of a file. Call it at the top of the file. */
export function useTwoServices(overrides: Partial<Config> = {}, database = useTestDatabase()): TwoServices {
  const [a, b] = [useInstance(database, overrides), useInstance(database, overrides)];
  return {
    get a() {
      return a().client;
    },
    get b() {
      return b().client;
    },
    database,
  };
}

/** Starts a service for the calling test. It is stopped when the test finishes, if the test has not stopped it. */
export async function startOwnService(
  databaseUrl: string,
  overrides: Partial<Config> = {},
  log = createLog("silent"),
): Promise<Service> {
  const service = await start(databaseUrl, overrides, log);
  onTestFinished(() => service.stop());
  return service;
}

/** Starts a service for the calling test. @returns its URL, and what it has logged at this level and above */
export async function startLoggedService(databaseUrl: string, level: "info" | "warn" = "warn") {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
  const { url } = await startOwnService(databaseUrl, {}, createLog(level, stream));
  return { url, logged: () => lines.map((line) => JSON.parse(line)) };
}

function useInstance(database: TestDatabase, overrides: Partial<Config>) {
  let instance: { readonly url: string; readonly client: LearningLogClient } | undefined;
  let service: Service | undefined;
  beforeAll(async () => {
    service = await start(database.url, overrides);
    instance = { url: service.url, client: grpcClient(service.url) };
  });
  afterAll(() => service?.stop());
  return () => {
    if (instance === undefined) throw new Error("the service runs only during the tests");
    return instance;
  };
}

function start(databaseUrl: string, overrides: Partial<Config>, log = createLog("silent")): Promise<Service> {
  return startService({ ...testConfig(databaseUrl), ...overrides }, log);
}
