import { bucketOf } from "../../../src/aggregates/bucket.ts";
import { type BenchmarkDatabase, bareTable, rivalTables } from "./database.ts";
import { userCount } from "./entries.ts";
import type { Measurement } from "./load.ts";
import { runOptional, temporaryFile } from "./optional-program.ts";

/** A transaction that pgbench repeats: one prepared statement. */
export interface PgbenchTransaction {
  readonly name: string;
  readonly script: string;
}

const clients = 64;
const threads = 2;

/** Inserts one row, and computes no aggregates. */
export const bareInsert: PgbenchTransaction = {
  name: `pgbench INSERT, ${clients} clients`,
  script: `
\\set learner random(1, ${userCount})
INSERT INTO ${bareTable} (request_id, user_id, word_count, timestamp)
VALUES (gen_random_uuid(), 'user-' || :learner, 42, now());
`,
};

/** Does what CreateEntry does for one entry: inserts it unless it is known, and adds it to the aggregates. */
export const sameWork: PgbenchTransaction = {
  name: `pgbench doing the same work, ${clients} clients`,
  script: `
\\set learner random(1, ${userCount})
WITH created AS (
  INSERT INTO ${rivalTables.log} (request_id, user_id, word_count, timestamp)
  VALUES (gen_random_uuid(), 'user-' || :learner, 42, now())
  ON CONFLICT (request_id) DO NOTHING
  RETURNING user_id, word_count, ${bucketOf("timestamp")} AS bucket
)
INSERT INTO ${rivalTables.aggregates} AS aggregate (user_id, bucket, total_word_count, entry_count)
SELECT user_id, bucket, word_count, 1
FROM created
ON CONFLICT (user_id, bucket) DO UPDATE SET
  total_word_count = aggregate.total_word_count + excluded.total_word_count,
  entry_count = aggregate.entry_count + excluded.entry_count;
`,
};

/**
 * Runs pgbench, PostgreSQL's load generator: each client makes one transaction after another.
 *
 * @returns undefined if pgbench is not installed, or committed nothing within the time
 */
export async function measurePgbench(
  database: BenchmarkDatabase,
  { script }: PgbenchTransaction,
  seconds: number,
): Promise<Measurement | undefined> {
  await using file = await temporaryFile(script);
  await database.reset();
  // In the environment, because every user of the machine can read the arguments.
  const url = new URL(database.url);
  const env = { ...process.env, PGPASSWORD: decodeURIComponent(url.password) };
  url.password = "";
  const load = ["--client", `${clients}`, "--jobs", `${threads}`, "--time", `${seconds}`];
  const args = ["--no-vacuum", "--protocol=prepared", ...load, "--file", file.path, url.href];
  const output = await runOptional("pgbench", args, { env, timeout: (seconds + 60) * 1000 });
  const rate = output === undefined ? 0 : readRate(output);
  return rate > 0 ? { rate } : undefined;
}

/** The transactions per second; 0 if there were none, because then pgbench prints no rate. */
function readRate(output: string): number {
  return Number(/^tps = ([\d.]+)/m.exec(output)?.[1] ?? 0);
}
