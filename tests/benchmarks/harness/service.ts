import path from "node:path";
import type { Setting } from "./benchmark.ts";
import { type Child, startChild } from "./child.ts";
import type { BenchmarkDatabase } from "./database.ts";

const main = path.join(import.meta.dirname, "../../../src/main.ts");

/** The service, with the defaults of its configuration, in front of a benchmark's database. */
export async function startService(setting: Setting, database: BenchmarkDatabase): Promise<Child> {
  const env = { DATABASE_URL: database.url, HOST: "127.0.0.1", PORT: "0", LOG_LEVEL: "info" };
  return startChild(main, env, setting.serviceFlags);
}
