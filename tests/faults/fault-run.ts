import { Random } from "../support/random.ts";

/** How many rounds each suite makes: many by default; a few, with FAULT_ROUNDS=2, as a short form. */
export const rounds = Number(process.env.FAULT_ROUNDS || 10);

/** Whether this is the long form, which takes the service's own time limits as they are. */
export const isLongForm = rounds >= 10;

/** Determines a run's random choices, as far as the machine's timing lets it; printed by each suite. */
const seed = Number(process.env.FAULT_SEED || 1);

/** @param suite whose choices they are; its name and the seed are printed */
export function seededRandom(suite: string): Random {
  report(`${suite}: ${rounds} rounds, FAULT_SEED=${seed}`);
  return new Random(seed);
}

/** Prints a line of what is going on. */
export function report(line: string): void {
  process.stdout.write(`${line}\n`);
}
