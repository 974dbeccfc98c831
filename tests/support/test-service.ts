import { afterAll, beforeAll } from "vitest";
import type { Config } from "../../src/config.ts";
import { type Service, startService } from "../../src/service.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { testConfig } from "./test-config.ts";
import { type TestDatabase, useTestDatabase } from "./test-database.ts";

/** The whole service, in this process, on a port and a database of its own. */
export interface TestService {
  /** Where it is reached, once the tests run. */
  readonly url: string;
  readonly database: TestDatabase;
}

/** Call it at the top of a test file: the service runs during its tests. */
export function useTestService(overrides: Partial<Config> = {}): TestService {
  const database = useTestDatabase();
  let service: Service | undefined;
  beforeAll(async () => {
    const defaults = testConfig(database.url);
    service = await startService({ ...defaults, ...overrides }, createLog("fatal"));
  });
  afterAll(() => service?.stop());
  return {
    get url() {
      if (service === undefined) throw new Error("the service runs during the tests only");
      return service.url;
    },
    database,
  };
}
