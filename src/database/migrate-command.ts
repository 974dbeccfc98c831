import { readConfig } from "../config.ts";
import { StartupError } from "../errors/startup-error.ts";
import { createLog } from "../telemetry/log.ts";
import { migrate } from "./migrations.ts";

// `npm run migrate` applies every pending migration to DATABASE_URL; `npm run migrate -- down` takes the newest back.

try {
  const { databaseUrl, logLevel } = readConfig(process.env);
  if (databaseUrl === undefined) {
    throw new StartupError("set DATABASE_URL: the embedded PostgreSQL is migrated at every start");
  }
  const direction = process.argv[2] ?? "up";
  if (direction !== "up" && direction !== "down") throw new StartupError("usage: migrate [up|down]");
  const steps = await migrate(databaseUrl, createLog(logLevel), direction);
  process.stdout.write(`${direction}: ${steps.join(", ") || "nothing to do"}\n`);
} catch (error) {
  process.stderr.write(`migrate: ${error instanceof Error ? error.message.split("\n")[0] : String(error)}\n`);
  process.exitCode = 1;
}
