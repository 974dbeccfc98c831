import pg from "pg";
import { type Difference, findDifferences } from "../aggregates/find-differences.ts";
import { lockAgainstWriters, repairAggregates } from "../aggregates/repair-aggregates.ts";
import { announceEverything } from "../changes/learner-changes.ts";
import { readConfig } from "../config.ts";
import { findDatabase, parseCommandLine, runCommand } from "./command.ts";

// `npm run verify` recounts the log and compares the result with the aggregates. It ends with code 0 if they agree,
// with 1 if they differ, and with 2 if the comparison failed. `npm run verify -- --repair` corrects the aggregates, and
// then ends with code 0. Both work while the service runs.

const shownDifferences = 10;

const connectTimeoutMs = 5_000;

/** How long `--repair` waits for its locks. Meanwhile, new writes queue behind it. */
const lockTimeoutMs = 10_000;

const print = (line: string) => process.stdout.write(`${line}\n`);

const usage = "usage: npm run verify [-- --repair]";

await runCommand("verify", 2, async (stack) => {
  const { values } = parseCommandLine(usage, { options: { repair: { type: "boolean", default: false } } });
  const client = new pg.Client({
    connectionString: await findDatabase(readConfig(process.env), stack),
    application_name: "daily-aggregator verify",
    connectionTimeoutMillis: connectTimeoutMs,
    lock_timeout: lockTimeoutMs,
    keepAlive: true,
  });
  // A connection error also rejects the statement in flight. Without a listener, the event would end the process first.
  client.on("error", () => {});
  await client.connect();
  stack.defer(() => client.end());
  return verify(client, values.repair);
});

async function verify(client: pg.Client, repair: boolean): Promise<number> {
  await client.query(repair ? "BEGIN" : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  if (repair) await lockAgainstWriters(client);
  let count = 0;
  for await (const difference of findDifferences(client)) {
    count += 1;
    if (count <= shownDifferences) print(describe(difference));
  }
  print(count === 0 ? "the aggregates agree with the log" : `aggregates that differ from the log: ${count}`);
  if (count > 0 && repair) {
    const { set, deleted } = await repairAggregates(client);
    await announceEverything(client);
    print(`repaired: ${set} recomputed from the log, ${deleted} deleted`);
  }
  await client.query("COMMIT");
  return count === 0 || repair ? 0 : 1;
}

function describe(difference: Difference): string {
  const { user_id, bucket, log_total, log_count, aggregate_total, aggregate_count } = difference;
  const log = log_count === null ? "nothing" : `total_word_count ${log_total}, entry_count ${log_count}`;
  const aggregate =
    aggregate_count === null
      ? "no row"
      : `total_word_count ${aggregate_total}, entry_count ${aggregate_count}`;
  return `${user_id} ${bucket}: the log has ${log}; the aggregates have ${aggregate}`;
}
