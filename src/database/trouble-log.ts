import type { Log } from "../telemetry/log.ts";
import { conditionOf } from "./sqlstate.ts";

/** How long the same problem is not logged again, in milliseconds. */
const repeatMs = 60_000;

/** The most kinds of problems that are distinguished; fewer exist. */
const maxKinds = 100;

/**
 * Logs why the database cannot be used. While the problem lasts, every call fails with the same error, so each error
 * code is logged at most once a minute. Messages of PostgreSQL and of the network are not logged, because they
 * contain hosts, users and values.
 */
export class TroubleLog {
  readonly #log: Log;
  /** By error code: when it was last logged (milliseconds of `performance.now()`), and how often it occurred since. */
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

/** The SQLSTATE, or a network error code such as ECONNREFUSED; "no answer" if there is none, as for a timeout. */
export function codeOf(error: unknown): string {
  const last = error instanceof AggregateError ? error.errors.at(-1) : error;
  return last instanceof Error && "code" in last ? String(last.code) : "no answer";
}
