import { leaseMs } from "../../../src/database/notifications.ts";
import type { OracleEntry } from "../oracle.ts";

/** One of the two instances of the service. */
export type Instance = "a" | "b";

/** A learner's entries by request_id. */
export type Log = ReadonlyMap<string, OracleEntry>;

/** A call that changes the log at some moment between its begin and its answer. Times are of `performance.now()`. */
interface Write {
  readonly instance: Instance;
  readonly isDeletion: boolean;
  readonly began: number;
  /** Infinity while it is under way. */
  answered: number;
  readonly apply: (log: Log) => Log;
}

/** A question, from when it was asked to when it was answered. */
export interface Asking {
  readonly instance: Instance;
  readonly asked: number;
  readonly answered: number;
  /** That instance knew from before it was asked until it had answered that it did not hear of the other's writes. */
  readonly isDeaf: boolean;
}

/** What was written of one learner, and what may be read of it. */
export class History {
  readonly #writes: Write[] = [];

  /** @returns to be called when the write is answered */
  begin(instance: Instance, isDeletion: boolean, apply: (log: Log) => Log): () => void {
    const began = performance.now();
    const write = { instance, isDeletion, began, answered: Number.POSITIVE_INFINITY, apply };
    this.#writes.push(write);
    return () => {
      write.answered = performance.now();
    };
  }

  /**
   * Every log that an answer may be a recount of: the writes it must show, any of those it may show, and each in an
   * order that contradicts no one who waited for a write's answer before the next.
   */
  possibleLogs(asking: Asking): Log[] {
    const found = new Map<string, Log>();
    const seen = new Set<string>();
    const visit = (shown: ReadonlySet<Write>, log: Log) => {
      const rest = this.#writes.filter((write) => !shown.has(write));
      const state = `${rest.map((write) => this.#writes.indexOf(write))}|${contentsOf(log)}`;
      if (seen.has(state)) return;
      seen.add(state);
      if (!rest.some((write) => mustShow(asking, write))) found.set(contentsOf(log), log);
      for (const next of rest) {
        const isNext = !rest.some((write) => write.answered < next.began);
        if (isNext && next.began <= asking.answered) visit(new Set([...shown, next]), next.apply(log));
      }
    };
    visit(new Set(), new Map());
    return [...found.values()];
  }
}

/**
 * What an instance has answered it must show, and what the other one has, too: at once if that was a deletion, which
 * is answered only when every instance knows of it, or if this instance is deaf; else after the lease.
 */
function mustShow({ instance, asked, isDeaf }: Asking, write: Write): boolean {
  const isHeardAtOnce = write.instance === instance || write.isDeletion || isDeaf;
  return write.answered <= asked - (isHeardAtOnce ? 0 : leaseMs);
}

function contentsOf(log: Log): string {
  return [...log.keys()].sort().join();
}
