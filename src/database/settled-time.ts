/** What a heartbeat reads in the database, in one statement. */
export interface ClockSample {
  /** The database's clock when the statement began, in microseconds since 1970. */
  readonly clock: bigint;
  /** The statement's transaction id, which it got after it read the clock. */
  readonly transactionId: bigint;
  /** The oldest transaction id that was still running when the statement looked. */
  readonly oldestRunning: bigint;
}

/** How many samples wait for older transactions to end. More are thinned out, which delays the answer and never falsifies it. */
const maxSamples = 128;

/**
 * Knows up to which time every transaction has ended.
 *
 * PostgreSQL gives out transaction ids in ascending order. So a transaction that got its id before a sample read the
 * clock has a smaller id than the sample. Once a later sample finds no running id below the first sample's, all of those
 * transactions have ended, and every statement that is sent from then on sees what they committed. No transaction is
 * assumed to be short.
 */
export class SettledTime {
  /** The samples that some older transaction may outlast, oldest first. */
  #samples: ClockSample[] = [];
  #latestClock: bigint | undefined;
  #settledAt: bigint | undefined;

  /**
   * Every transaction that got its id before the database's clock said so has ended; microseconds since 1970. Undefined
   * as long as nothing is known.
   */
  get settledAt(): bigint | undefined {
    return this.#settledAt;
  }

  /**
   * @param sample read later than all before it
   * @returns false if the clock has gone back: then nothing is known any more, and this is the first sample
   */
  add(sample: ClockSample): boolean {
    const goesOn = this.#latestClock === undefined || sample.clock >= this.#latestClock;
    if (!goesOn) this.reset();
    this.#latestClock = sample.clock;
    const ended = this.#samples.filter(({ transactionId }) => transactionId <= sample.oldestRunning);
    this.#settledAt = ended.at(-1)?.clock ?? this.#settledAt;
    this.#samples.splice(0, ended.length);
    if (this.#samples.length === maxSamples)
      this.#samples = this.#samples.filter((_, index) => index % 2 === 0);
    this.#samples.push(sample);
    return goesOn;
  }

  /** Forgets everything: what was read before says nothing about what comes. */
  reset(): void {
    this.#samples = [];
    this.#latestClock = undefined;
    this.#settledAt = undefined;
  }
}
