import { onTestFinished } from "vitest";
import type { Config } from "../../src/config.ts";
import { type Service, startService } from "../../src/service.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { testConfig } from "./test-config.ts";

/** A service of the calling test's own, to stop or to starve; it is stopped at the latest when the test finishes. */
export async function startOwnService(
  databaseUrl: string,
  overrides: Partial<Config> = {},
): Promise<Service> {
  const defaults = testConfig(databaseUrl);
  const service = await startService({ ...defaults, ...overrides }, createLog("silent"));
  onTestFinished(() => service.stop());
  return service;
}
