import { afterAll, beforeAll } from "vitest";
import type { Config } from "../../src/config.ts";
import { type Service, startService } from "../../src/service.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { grpcClient, type LearningLogClient } from "./clients.ts";
import { testConfig } from "./test-config.ts";
import { type TestDatabase, useTestDatabase } from "./test-database.ts";

/** Two instances of the service in front of one database, and a client over gRPC of each. */
export interface TwoServices {
  readonly a: LearningLogClient;
  readonly b: LearningLogClient;
  readonly database: TestDatabase;
}

/** Call it at the top of a test file: both instances run during its tests. */
export function useTwoServices(overrides: Partial<Config> = {}, database = useTestDatabase()): TwoServices {
  const services: Service[] = [];
  const clients: LearningLogClient[] = [];
  beforeAll(async () => {
    const defaults = testConfig(database.url);
    for (let index = 0; index < 2; index += 1) {
      const service = await startService({ ...defaults, ...overrides }, createLog("fatal"));
      services.push(service);
      clients.push(grpcClient(service.url));
    }
  });
  afterAll(() => Promise.all(services.map((service) => service.stop())));
  const client = (index: number) => {
    const found = clients[index];
    if (found === undefined) throw new Error("the services run during the tests only");
    return found;
  };
  return {
    get a() {
      return client(0);
    },
    get b() {
      return client(1);
    },
    database,
  };
}
