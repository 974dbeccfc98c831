import type { Log } from "../telemetry/log.ts";
import { conditionOf } from "./sqlstate.ts";

/** How long the same trouble is not logged again, in milliseconds. */
const repeatMs = 60_000;

/** How many kinds of trouble are distinguished; fewer exist. */
const maxKinds = 100;

/**
 * Logs why the database cannot be used: each reason once, and again every minute while it lasts, because it meets every
 * call. No message of PostgreSQL or of the network goes into the log: they name hosts, users and values.
 */
export class TroubleLog {
  readonly #log: Log;
  /** When each kind of trouble was logged, in milliseconds of `performance.now()`, and how often it came since. */
  readonly #kinds = new Map<string, { loggedAt: number; unlogged: number }>();

  constructor(log: Log) {
    this.#log = log;
  }

  report(error: unknown): void {
    const code = codeOf(error);
    const reason = conditionOf(error)?.reason ?? "the database does not answer";
    const known = this.#kinds.get(code);
    const now = performance.now();
    if (known && now - known.loggedAt < repeatMs) {
      known.unlogged += 1;
      return;
    }
    if (this.#kinds.size >= maxKinds) this.#kinds.clear();
    this.#kinds.set(code, { loggedAt: now, unlogged: 0 });
    this.#log.warn({ code, timesSince: known?.unlogged }, `the database cannot be used: ${reason}`);
  }
}

/** A SQLSTATE, or a code of the network such as ECONNREFUSED; node-postgres has none for a time limit. */
export function codeOf(error: unknown): string {
  const last = error instanceof AggregateError ? error.errors.at(-1) : error;
  return last instanceof Error && "code" in last ? String(last.code) : "no answer";
}
