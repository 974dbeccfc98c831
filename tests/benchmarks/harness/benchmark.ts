import type { BenchmarkServer } from "./database.ts";
import type { Figure } from "./figure.ts";

/** Something that is measured. */
export interface Benchmark {
  /** As `--only` takes it. */
  readonly name: string;
  /** Runs only when it is asked for by its name. */
  readonly onDemand?: true;
  run(setting: Setting): Promise<Figure[]>;
}

/** What a benchmark is given. */
export interface Setting {
  readonly server: BenchmarkServer;
  readonly effort: Effort;
  /** Flags of Node for the service's process, such as those of the profiler. */
  readonly serviceFlags: readonly string[];
  /** Tells whoever waits what is going on. */
  progress(line: string): void;
}

/** How long the measurements take. */
export interface Effort {
  /** How often each turn is taken; the median counts. */
  readonly rounds: number;
  /** The same, where the goal is near what is expected. */
  readonly manyRounds: number;
  /** Of each turn; whole seconds, for pgbench takes no others. */
  readonly seconds: number;
  /** How long a process runs before its first turn, until the code it runs most is compiled. */
  readonly firstWarmUpSeconds: number;
  /** How long each turn runs before it is measured. */
  readonly warmUpSeconds: number;
  readonly importRows: number;
  /** To how many entries of one learner the log grows, ten times as many at each step. */
  readonly logEntries: readonly number[];
}

/** A run of all takes less than ten minutes. */
export const fullEffort: Effort = {
  rounds: 3,
  manyRounds: 5,
  seconds: 3,
  firstWarmUpSeconds: 3,
  warmUpSeconds: 0.5,
  importRows: 1_000_000,
  logEntries: [10_000, 100_000, 1_000_000, 10_000_000],
};

/** Shows that the benchmarks work; its figures mean little. */
export const shortEffort: Effort = {
  rounds: 1,
  manyRounds: 1,
  seconds: 1,
  firstWarmUpSeconds: 1,
  warmUpSeconds: 0.3,
  importRows: 20_000,
  logEntries: [10_000, 100_000],
};
