/**
 * The seed of all random values in the tests. It is fixed, so that a test fails only because of a change, and never by
 * chance. `npm run test:random` sets other seeds.
 */
export const seed = Number(process.env.RANDOM_SEED || 20_240_229);

/** The factor for the number of random cases; 1 in `npm test`. */
export const effort = Number(process.env.RANDOM_EFFORT || 1);

/** Random choices that a seed determines. */
export class Random {
  #state: number;

  constructor(state: number) {
    this.#state = state;
  }

  /** A number that is at least 0 and below 1 (mulberry32). */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in this range, which includes both ends. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from + 1));
  }

  pick<Choice>(choices: readonly [Choice, ...Choice[]]): Choice {
    return choices[this.integer(0, choices.length - 1)] ?? choices[0];
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.integer(0, 255)));
  }
}
