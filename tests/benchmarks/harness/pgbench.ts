import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import type { Setting } from "./benchmark.ts";
import { type BenchmarkDatabase, bareTable } from "./database.ts";
import { userCount } from "./entries.ts";
import type { Figure } from "./figure.ts";
import { type Measurement, runLoad, warmUp } from "./load.ts";
import { takeTurns } from "./rounds.ts";

const run = promisify(execFile);

const script = `
\\set learner random(1, ${userCount})
INSERT INTO ${bareTable} (request_id, user_id, word_count, timestamp)
VALUES (gen_random_uuid(), 'user-' || :learner, 42, now());
`;

const clients = 64;
const threads = 2;

/**
 * Measures the rate of recording single entries with several numbers of calls in flight, and that of pgbench.
 *
 * @param record records one entry
 * @param goal how many times as fast as pgbench it should be
 */
export async function measureBesidePgbench(
  setting: Setting,
  database: BenchmarkDatabase,
  { what, record, goal }: { what: string; record: () => Promise<unknown>; goal: number },
): Promise<Figure[]> {
  const measure = async (inFlight: number) => {
    await database.reset();
    const load = await runLoad({ inFlight, ...setting.effort }, record);
    await database.expectEntries(load.answered);
    return load;
  };
  await warmUp(setting.effort.firstWarmUpSeconds, 256, record);
  const { pgbench, ...measured } = await takeTurns(setting, {
    "64 in flight": () => measure(64),
    "256 in flight": () => measure(256),
    "512 in flight": () => measure(512),
    pgbench: () => measurePgbench(database, setting.effort.seconds),
  });
  return Object.entries(measured).flatMap(([turn, measurement]) => {
    if (measurement === undefined) return [];
    const { rate, p50Ms, p99Ms } = measurement;
    const figure = { name: `${what}, ${turn}`, value: rate, unit: "rows/s", p50Ms, p99Ms };
    if (pgbench === undefined)
      return { ...figure, note: "no rival: pgbench is not installed, or committed nothing within the time" };
    const rival = { name: `pgbench INSERT, ${clients} clients`, value: pgbench.rate };
    return { ...figure, rival, goal: { of: "ratio", atLeast: goal } as const };
  });
}

/**
 * Runs pgbench, PostgreSQL's load generator: each client inserts one row, commits, and inserts the next. It uses a
 * prepared statement and a table with the same columns, key and index as `learning_log`, and computes no aggregates.
 *
 * @returns undefined if pgbench is not installed, or committed nothing within the time
 */
async function measurePgbench(
  database: BenchmarkDatabase,
  seconds: number,
): Promise<Measurement | undefined> {
  await using temporary = await temporaryFolder();
  const file = path.join(temporary.path, "insert.sql");
  await writeFile(file, script);
  await database.reset();
  // In the environment, because every user of the machine can read the arguments.
  const url = new URL(database.url);
  const env = { ...process.env, PGPASSWORD: decodeURIComponent(url.password) };
  url.password = "";
  const load = ["--client", `${clients}`, "--jobs", `${threads}`, "--time", `${seconds}`];
  const args = ["--no-vacuum", "--protocol=prepared", ...load, "--file", file, url.href];
  try {
    const { stdout } = await run("pgbench", args, { env, timeout: (seconds + 60) * 1000 });
    const rate = readRate(stdout);
    return rate > 0 ? { rate } : undefined;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** The transactions per second; 0 if there were none, because then pgbench prints no rate. */
function readRate(output: string): number {
  return Number(/^tps = ([\d.]+)/m.exec(output)?.[1] ?? 0);
}

async function temporaryFolder(): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), "daily-aggregator-pgbench-"));
  return { path: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}
