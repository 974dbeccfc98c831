import pg from "pg";
import type { Caller } from "../caller.ts";
import { overloaded, unavailable } from "../errors/retryable.ts";
import type { NewEntry } from "./entry.ts";
import type { RecentEntries } from "./recent-entries.ts";
import { type Recording, type RecordingParts, recordEntries } from "./record-entries.ts";

/** How much is written at once. */
export interface EntryWriterLimits {
  /** How many statements may be under way at once. */
  readonly maxStatements: number;
  /** How many single entries one statement takes at most. */
  readonly maxStatementRows: number;
  /** How many entries may be waiting or under way, before further ones are refused. */
  readonly maxPendingRows: number;
}

/** A statement of fewer rows takes nearly as long. */
const minShareRows = 32;

/** A call that waits for its statement. */
interface Waiting {
  readonly entry: NewEntry;
  readonly resolve: (recording: Recording) => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * Group commit: single entries that come while statements are under way wait together, and go to the database as one
 * statement, and one commit, as soon as one of those is done. Nobody waits while the line is idle; there is no timer.
 *
 * An entry:
 *
 *     waiting ──a statement is free──> sent ──committed──> answered
 *        │                              └──the caller gives up──> answered so; the entry may stand
 *        └──the caller gives up──> gone, nothing was written
 *
 * The writer:
 *
 *     open ──drain()──> draining: refuses new entries, writes those that wait ──> done
 */
export class EntryWriter {
  readonly #parts: RecordingParts;
  readonly #recent: RecentEntries;
  readonly #limits: EntryWriterLimits;
  readonly #waiting = new Set<Waiting>();
  #statements = 0;
  /** How many single entries are under way. */
  #sentRows = 0;
  #pendingRows = 0;
  #draining = false;
  readonly #drained = Promise.withResolvers<void>();

  constructor(parts: RecordingParts, recent: RecentEntries, limits: EntryWriterLimits) {
    this.#parts = parts;
    this.#recent = recent;
    this.#limits = limits;
  }

  /**
   * Records one entry together with others; its failure is its own.
   *
   * @throws the reason of the caller's signal, if it is aborted before the answer
   * @throws ConnectError RESOURCE_EXHAUSTED if too many entries are pending, UNAVAILABLE if the database is away
   */
  async record(entry: NewEntry, caller: Caller): Promise<Recording> {
    const stored = this.#recent.get(entry.requestId);
    if (stored) return { stored, isNew: false };
    const { signal } = caller;
    signal.throwIfAborted();
    this.#admit(1);

    const { promise, resolve, reject } = Promise.withResolvers<Recording>();
    const waiting: Waiting = { entry, resolve, reject };
    const giveUp = () => {
      this.#waiting.delete(waiting);
      reject(signal.reason);
    };
    signal.addEventListener("abort", giveUp, { once: true });
    this.#waiting.add(waiting);
    this.#send();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
      this.#dismiss(1);
    }
  }

  /**
   * Records a batch in a statement of its own: all of it or, on any error, nothing. It is not remembered for retries: an
   * import would push out what single calls may retry.
   *
   * @returns one for each entry, in the same order
   * @throws as {@link record} does
   */
  async recordBatch(entries: readonly NewEntry[]): Promise<Recording[]> {
    this.#admit(entries.length);
    try {
      return await recordEntries(this.#parts, entries);
    } finally {
      this.#dismiss(entries.length);
    }
  }

  /** Resolves when everything that was accepted has been answered; what comes from now on is refused. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#pendingRows === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  /** @throws ConnectError if there is no room for so many entries */
  #admit(rows: number): void {
    if (this.#draining) throw unavailable("the server is shutting down");
    if (this.#pendingRows + rows > this.#limits.maxPendingRows) {
      throw overloaded("too many entries are waiting to be written");
    }
    this.#pendingRows += rows;
  }

  #dismiss(rows: number): void {
    this.#pendingRows -= rows;
    if (this.#draining && this.#pendingRows === 0) this.#drained.resolve();
  }

  /**
   * Starts as many statements as may be under way, while there is something to write. Each takes an even share: those
   * who are answered together come back together, so that a large and a small one would stay large and small.
   */
  #send(): void {
    const { maxStatements, maxStatementRows } = this.#limits;
    while (this.#statements < maxStatements && this.#waiting.size > 0) {
      const share = Math.ceil((this.#waiting.size + this.#sentRows) / maxStatements);
      const rows = Math.min(Math.max(share, minShareRows), maxStatementRows);
      const group = this.#waiting.values().take(rows).toArray();
      for (const waiting of group) this.#waiting.delete(waiting);
      this.#statements += 1;
      this.#sentRows += group.length;
      void this.#write(group).then(() => {
        this.#statements -= 1;
        this.#sentRows -= group.length;
        this.#send();
      });
    }
  }

  /** Answers every call of the group; never throws. */
  async #write(group: readonly Waiting[]): Promise<void> {
    try {
      const { epoch } = this.#recent;
      const recordings = await recordEntries(
        this.#parts,
        group.map(({ entry }) => entry),
      );
      this.#recent.add(
        recordings.map(({ stored }) => stored),
        epoch,
      );
      for (const [index, recording] of recordings.entries()) group[index]?.resolve(recording);
    } catch (error) {
      if (group.length > 1 && error instanceof pg.DatabaseError) {
        // One row may be to blame: halving finds it, and lets its neighbours pass.
        const middle = Math.ceil(group.length / 2);
        await this.#write(group.slice(0, middle));
        await this.#write(group.slice(middle));
      } else {
        for (const { reject } of group) reject(error);
      }
    }
  }
}
