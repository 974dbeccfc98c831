import { type Config, readConfig } from "../../src/config.ts";

/** The configuration of a service in a test: a free port, and the UNARY_PATH of the environment. */
export function testConfig(databaseUrl: string): Config {
  return readConfig({ PORT: "0", DATABASE_URL: databaseUrl, UNARY_PATH: process.env.UNARY_PATH });
}
