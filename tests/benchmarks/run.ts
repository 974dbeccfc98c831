import path from "node:path";
import { parseArgs } from "node:util";
import { batchCreateEntriesBenchmark } from "./batch-create-entries.bench.ts";
import { createEntryBenchmark } from "./create-entry.bench.ts";
import { createEntryInProcessBenchmark } from "./create-entry-in-process.bench.ts";
import { emptyCallBenchmark } from "./empty-call.bench.ts";
import { getSummaryBenchmark } from "./get-summary.bench.ts";
import { getSummaryGrowthBenchmark } from "./get-summary-growth.bench.ts";
import { getSummaryMemoizedBenchmark } from "./get-summary-memoized.bench.ts";
import { type Benchmark, fullEffort, type Setting, shortEffort } from "./harness/benchmark.ts";
import { startServer } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { describeMachine } from "./harness/machine.ts";
import { toJson, toTable } from "./harness/report.ts";
import { importEntriesBenchmark } from "./import-entries.bench.ts";
import { retryStormBenchmark } from "./retry-storm.bench.ts";
import { unaryCallBenchmark } from "./unary-call.bench.ts";
import { watchSummaryBenchmark } from "./watch-summary.bench.ts";
import { writeLimitsBenchmark } from "./write-limits.bench.ts";

// `npm run bench` measures the service and its rivals in the same run, and prints a table. This process generates the
// load; the service and PostgreSQL are separate processes. BENCH_DATABASE_URL is the URL of a PostgreSQL server to use
// instead of the embedded one; its user must be able to create databases.

const benchmarks: readonly Benchmark[] = [
  unaryCallBenchmark,
  emptyCallBenchmark,
  createEntryBenchmark,
  createEntryInProcessBenchmark,
  batchCreateEntriesBenchmark,
  retryStormBenchmark,
  importEntriesBenchmark,
  getSummaryMemoizedBenchmark,
  getSummaryBenchmark,
  getSummaryGrowthBenchmark,
  watchSummaryBenchmark,
  writeLimitsBenchmark,
];

const usage = `usage: npm run bench -- [--json] [--short] [--only NAME]... [--cpu-prof FOLDER]

  --json             print JSON instead of a table
  --short            measure each figure for about a second, to check that the benchmarks work
  --only NAME        run only this one of ${benchmarks.map(({ name }) => name).join(", ")}
  --cpu-prof FOLDER  write CPU profiles of the service to this folder
`;

try {
  const options = readOptions();
  if (options === undefined) process.stdout.write(usage);
  else await run(options);
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

interface Options {
  readonly selected: readonly Benchmark[];
  readonly json: boolean;
  readonly setting: Omit<Setting, "server">;
}

/** @returns undefined if the options include --help */
function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      short: { type: "boolean", default: false },
      only: { type: "string", multiple: true },
      "cpu-prof": { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  const unknown = values.only?.find((wanted) => !benchmarks.some(({ name }) => name === wanted));
  if (unknown !== undefined) throw new Error(`there is no benchmark ${unknown}\n${usage}`);
  const folder = values["cpu-prof"];
  return {
    selected: benchmarks.filter(({ name, onDemand }) => values.only?.includes(name) ?? !onDemand),
    json: values.json,
    setting: {
      effort: values.short ? shortEffort : fullEffort,
      serviceFlags: folder === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${path.resolve(folder)}`],
      progress: (line) => process.stderr.write(`${line}\n`),
    },
  };
}

async function run({ selected, json, setting }: Options): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const server = await startServer();
  stack.defer(() => server.stop());
  // Otherwise, the embedded server would outlive this process.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => server.stop().finally(() => process.exit(1)));
  }

  const machine = await describeMachine(server);
  const figures: Figure[] = [];
  for (const benchmark of selected) {
    setting.progress(benchmark.name);
    figures.push(...(await benchmark.run({ ...setting, server })));
  }
  process.stdout.write(`${json ? toJson(machine, figures) : toTable(machine, figures)}\n`);
}
