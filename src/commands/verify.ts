import { parseArgs } from "node:util";
import pg from "pg";
import { type Difference, findDifferences } from "../aggregates/find-differences.ts";
import { lockAgainstWriters, repairAggregates } from "../aggregates/repair-aggregates.ts";
import { announceEverything } from "../changes/learner-changes.ts";
import { readConfig } from "../config.ts";
import { describeConnectError } from "../database/connect-error.ts";
import { findEmbeddedServer, startEmbeddedServer } from "../database/embedded/embedded-server.ts";
import { createLog } from "../telemetry/log.ts";

// `npm run verify` recounts the log and compares it with the aggregates. It ends with code 0 if they agree, with 1 if
// they differ, and with 2 if it could not tell. `npm run verify -- --repair` makes the aggregates right, and ends
// with code 0 when they are. Both work while the service runs.

const shownDifferences = 10;

const connectTimeoutMs = 5_000;

/** How long `--repair` waits for those who write: they wait behind it meanwhile. */
const lockTimeoutMs = 10_000;

const say = (line: string) => process.stdout.write(`${line}\n`);

process.on("uncaughtException", fail);

try {
  const { values } = parseArgs({ options: { repair: { type: "boolean", default: false } } });
  const config = readConfig(process.env);
  await using stack = new AsyncDisposableStack();
  const connectionString = config.databaseUrl ?? (await embeddedServerUrl(config.dataDir, stack));
  const client = new pg.Client({
    connectionString,
    application_name: "daily-aggregator verify",
    connectionTimeoutMillis: connectTimeoutMs,
    lock_timeout: lockTimeoutMs,
    keepAlive: true,
  });
  // The statement that runs fails, too; without a listener the process would end as if the aggregates differed.
  client.on("error", () => {});
  await client.connect();
  stack.defer(() => client.end());
  process.exitCode = await verify(client, values.repair);
} catch (error) {
  fail(error);
}

function fail(error: unknown): never {
  process.stderr.write(`verify: ${describeConnectError(error)}\n`);
  // node-postgres keeps the socket of a login that failed, and with it the process.
  process.exit(2);
}

/** The server of the service that runs, or one that is started for as long as this command takes. */
async function embeddedServerUrl(dataDir: string, stack: AsyncDisposableStack): Promise<string> {
  const log = createLog("error");
  const running = await findEmbeddedServer(dataDir, log);
  if (running !== undefined) return running;
  const server = await startEmbeddedServer({ dataDir, log });
  stack.defer(() => server.stop());
  return server.url;
}

async function verify(client: pg.Client, repair: boolean): Promise<number> {
  await client.query(repair ? "BEGIN" : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  if (repair) await lockAgainstWriters(client);
  let count = 0;
  for await (const difference of findDifferences(client)) {
    count += 1;
    if (count <= shownDifferences) say(describe(difference));
  }
  say(count === 0 ? "the aggregates agree with the log" : `${count} aggregates differ from the log`);
  if (count > 0 && repair) {
    const { set, deleted } = await repairAggregates(client);
    await announceEverything(client);
    say(`repaired: ${set} set to what the log adds up to, ${deleted} deleted`);
  }
  await client.query("COMMIT");
  return count === 0 || repair ? 0 : 1;
}

function describe(difference: Difference): string {
  const { user_id, bucket, log_total, log_count, aggregate_total, aggregate_count } = difference;
  const log = log_count === null ? "nothing" : `${log_total} words in ${log_count} entries`;
  const aggregate =
    aggregate_count === null ? "no row" : `${aggregate_total} words in ${aggregate_count} entries`;
  return `${user_id} ${bucket}: the log has ${log}, the aggregates have ${aggregate}`;
}
