import { ServerProcess, serviceScript } from "../../support/server-process.ts";
import type { Setting } from "./benchmark.ts";
import type { BenchmarkDatabase } from "./database.ts";

/** Starts the service with its default configuration and the database of a benchmark. */
export async function startService(setting: Setting, database: BenchmarkDatabase): Promise<ServerProcess> {
  const variables = { DATABASE_URL: database.url, HOST: "127.0.0.1", PORT: "0", LOG_LEVEL: "info" };
  return ServerProcess.start(serviceScript, {
    env: { ...process.env, ...variables },
    flags: setting.serviceFlags,
  });
}
