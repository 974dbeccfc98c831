import { parseArgs } from "node:util";
import pg from "pg";
import { readConfig } from "../../config.ts";
import { startEmbeddedServer } from "../../database/embedded-server.ts";
import { createLog } from "../../telemetry/log.ts";
import { type Difference, findDifferences } from "./find-differences.ts";
import { lockAgainstWriters, repairAggregates } from "./repair-aggregates.ts";

// `npm run verify` recounts the log and compares it with the aggregates. It ends with code 0 if they agree, with 1 if
// they differ, and with 2 if it could not tell. `npm run verify -- --repair` makes the aggregates right, and ends
// with code 0 when they are.

const shownDifferences = 10;

const say = (line: string) => process.stdout.write(`${line}\n`);

try {
  const { values } = parseArgs({ options: { repair: { type: "boolean", default: false } } });
  const config = readConfig(process.env);
  await using stack = new AsyncDisposableStack();
  let connectionString = config.databaseUrl;
  if (connectionString === undefined) {
    const server = await startEmbeddedServer({ dataDir: config.dataDir, log: createLog("error") });
    stack.defer(() => server.stop());
    connectionString = server.url;
  }
  const client = new pg.Client({ connectionString, application_name: "daily-aggregator verify" });
  await client.connect();
  stack.defer(() => client.end());
  process.exitCode = await verify(client, values.repair);
} catch (error) {
  process.stderr.write(`verify: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
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
  return `${user_id} ${bucket.toISOString()}: the log has ${log}, the aggregates have ${aggregate}`;
}
