import { readConfig } from "../config.ts";
import { migrate } from "../database/migrations.ts";
import { StartupError } from "../errors/startup-error.ts";
import { createLog } from "../telemetry/log.ts";
import { parseCommandLine, runCommand, UsageError } from "./command.ts";

// `npm run migrate` applies every pending migration to DATABASE_URL. `npm run migrate -- down` reverts the newest one.

const usage = "usage: migrate [up|down]";

await runCommand("migrate", 1, async () => {
  const { positionals } = parseCommandLine(usage, { allowPositionals: true });
  const [direction = "up", ...rest] = positionals;
  if ((direction !== "up" && direction !== "down") || rest.length > 0) throw new UsageError(usage);
  const { databaseUrl, logLevel } = readConfig(process.env);
  if (databaseUrl === undefined) {
    throw new StartupError("set DATABASE_URL: the embedded PostgreSQL is migrated at every start");
  }
  const steps = await migrate(databaseUrl, createLog(logLevel), direction);
  process.stdout.write(`${direction}: ${steps.join(", ") || "nothing to do"}\n`);
  return 0;
});
