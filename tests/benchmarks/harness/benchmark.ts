import type { BenchmarkServer } from "./database.ts";
import type { Figure } from "./figure.ts";

/** A measurement of the service that `npm run bench` can run. */
export interface Benchmark {
  /** The name for `--only`. */
  readonly name: string;
  /** Runs only if `--only` names it. */
  readonly onDemand?: true;
  run(setting: Setting): Promise<Figure[]>;
}

/** What a benchmark needs to run. */
export interface Setting {
  readonly server: BenchmarkServer;
  readonly effort: Effort;
  /** Flags of Node for the service's process, such as those of the profiler. */
  readonly serviceFlags: readonly string[];
  /** Prints a line about the progress. */
  progress(line: string): void;
}

/** How long the measurements take. */
export interface Effort {
  /** How often each turn is measured; the median counts. */
  readonly rounds: number;
  /** The same for a benchmark whose expected result is near its goal. */
  readonly manyRounds: number;
  /** The duration of each turn; in whole seconds, because pgbench accepts no others. */
  readonly seconds: number;
  /** How long a process runs before its first turn, so that its hot code is compiled. */
  readonly firstWarmUpSeconds: number;
  /** How long each turn runs before it is measured. */
  readonly warmUpSeconds: number;
  readonly importRows: number;
  /** The numbers of entries of the learners in get-summary-growth, each ten times the one before. */
  readonly logEntries: readonly number[];
}

/** All benchmarks together take about 15 minutes. */
export const fullEffort: Effort = {
  rounds: 3,
  manyRounds: 5,
  seconds: 3,
  firstWarmUpSeconds: 3,
  warmUpSeconds: 0.5,
  importRows: 1_000_000,
  logEntries: [10_000, 100_000, 1_000_000, 10_000_000],
};

/** For a check that the benchmarks work; the figures are not meaningful. */
export const shortEffort: Effort = {
  rounds: 1,
  manyRounds: 1,
  seconds: 1,
  firstWarmUpSeconds: 1,
  warmUpSeconds: 0.3,
  importRows: 20_000,
  logEntries: [10_000, 100_000],
};
