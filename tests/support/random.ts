/**
 * Where all random values of the tests come from. It is fixed, so that a test fails for whoever breaks something and for
 * nobody else; `npm run test:random` sets others.
 */
export const seed = Number(process.env.RANDOM_SEED || 20_240_229);

/** How many times as many random cases as `npm test` tries. */
export const effort = Number(process.env.RANDOM_EFFORT || 1);

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

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.integer(0, 255)));
  }
}
