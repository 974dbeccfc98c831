/** What one statement of a heartbeat reads in the database. */
export interface ClockSample {
  /** The database's clock when the statement began, in microseconds since 1970. */
  readonly clock: bigint;
  /** The statement's transaction id, which was assigned after the clock was read. */
  readonly transactionId: bigint;
  /**
   * The smallest id of a transaction that was running when the statement took its snapshot, or the next id to be
   * assigned if none was running (`pg_snapshot_xmin`). Every transaction with a smaller id had ended.
   */
  readonly oldestRunning: bigint;
}

/**
 * The most samples that are kept. When there are more, every second one is dropped. A dropped sample makes
 * {@link SettledTime.settledAt} earlier than it could be, but never wrong.
 */
const maxSamples = 128;

/**
 * Computes a time of the database's clock such that every transaction that got its id before this time has ended.
 *
 * The argument, for a sample A and a later sample B:
 *
 * 1. PostgreSQL assigns transaction ids in ascending order, and A got its id after it read the clock. So every
 *    transaction that got its id before A read the clock has a smaller id than A.
 * 2. If A's id is at most B's `oldestRunning`, every transaction with a smaller id than A had ended when B was read.
 * 3. So every statement that is sent after B was read sees what these transactions committed.
 *
 * {@link settledAt} is the clock of the latest such A. The argument does not depend on how long a transaction takes.
 */
export class SettledTime {
  /** The samples for which a transaction with a smaller id may still be running, oldest first. */
  #samples: ClockSample[] = [];
  #latestClock: bigint | undefined;
  #settledAt: bigint | undefined;

  /**
   * Every transaction that got its id before this time of the database's clock has ended; in microseconds since 1970.
   * Undefined while no such time is known.
   */
  get settledAt(): bigint | undefined {
    return this.#settledAt;
  }

  /**
   * @param sample read after all samples that were added before it
   * @returns false if the clock went backwards: then all previous samples are discarded, and this is the first one
   */
  add(sample: ClockSample): boolean {
    const isMonotonic = this.#latestClock === undefined || sample.clock >= this.#latestClock;
    if (!isMonotonic) this.reset();
    this.#latestClock = sample.clock;
    const ended = this.#samples.filter(({ transactionId }) => transactionId <= sample.oldestRunning);
    this.#settledAt = ended.at(-1)?.clock ?? this.#settledAt;
    this.#samples.splice(0, ended.length);
    if (this.#samples.length === maxSamples)
      this.#samples = this.#samples.filter((_, index) => index % 2 === 0);
    this.#samples.push(sample);
    return isMonotonic;
  }

  /** Discards all samples, for a new connection or a changed clock. */
  reset(): void {
    this.#samples = [];
    this.#latestClock = undefined;
    this.#settledAt = undefined;
  }
}
