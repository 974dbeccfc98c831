import { readConfig } from "../config.ts";
import { describeConnectError } from "../database/connect-error.ts";
import { migrate } from "../database/migrations.ts";
import { StartupError } from "../errors/startup-error.ts";
import { createLog } from "../telemetry/log.ts";

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
  process.stderr.write(`migrate: ${describeConnectError(error)}\n`);
  // node-postgres keeps the socket of a login that failed, and with it the process.
  process.exit(1);
}
