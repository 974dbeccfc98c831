/** How many rounds each suite makes: many by default; a few, with FAULT_ROUNDS=2, as a short form. */
export const rounds = Number(process.env.FAULT_ROUNDS || 20);

/** Whether this is the long form, which takes the service's own time limits as they are. */
export const isLongForm = rounds >= 10;

/** Reproduces a run's random choices, as far as the machine's timing lets it; printed by each suite. */
const seed = Number(process.env.FAULT_SEED || Math.floor(Math.random() * 2 ** 32));

/** Random choices that a seed determines. */
export class Random {
  #state: number;

  constructor(state: number) {
    this.#state = state;
  }

  /** From 0 to below 1 (mulberry32). */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Both ends included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from + 1));
  }

  pick<Choice>(choices: readonly [Choice, ...Choice[]]): Choice {
    return choices[this.integer(0, choices.length - 1)] ?? choices[0];
  }
}

/** @param suite whose choices they are; its name and the seed are printed */
export function seededRandom(suite: string): Random {
  report(`${suite}: ${rounds} rounds, FAULT_SEED=${seed}`);
  return new Random(seed);
}

/** Prints a line of what is going on. */
export function report(line: string): void {
  process.stdout.write(`${line}\n`);
}
