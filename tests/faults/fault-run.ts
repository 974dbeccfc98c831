import { Random } from "../support/random.ts";

/** The number of rounds of each suite: FAULT_ROUNDS, or 10 by default. With fewer, such as 2, suites are shorter. */
export const rounds = Number(process.env.FAULT_ROUNDS || 10);

/** Whether the suites run in their long form, which also waits for the service's default time limits. */
export const isLongForm = rounds >= 10;

/** Determines the random choices of a run, as far as they do not depend on timing. Each suite prints it. */
const seed = Number(process.env.FAULT_SEED || 1);

/** Returns the random choices of a suite, which the seed determines. Prints the suite's name and the seed. */
export function seededRandom(suite: string): Random {
  report(`${suite}: ${rounds} rounds, FAULT_SEED=${seed}`);
  return new Random(seed);
}

/** Prints a line about the run. */
export function report(line: string): void {
  process.stdout.write(`${line}\n`);
}
