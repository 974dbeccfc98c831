import { leaseMs } from "../../../src/database/notifications.ts";
import type { OracleEntry } from "../oracle.ts";

/** One of the two instances of the service. */
export type Instance = "a" | "b";

/** A learner's entries by request_id. */
export type Log = ReadonlyMap<string, OracleEntry>;

/** A call that changes the log between its beginning and its answer. Times are in ms of `performance.now()`. */
interface Write {
  readonly instance: Instance;
  readonly isDeletion: boolean;
  readonly began: number;
  /** Infinity while the call is in progress. */
  answered: number;
  readonly apply: (log: Log) => Log;
}

/** The times at which a question was asked and answered, in milliseconds of `performance.now()`. */
export interface QuestionTimes {
  readonly instance: Instance;
  readonly asked: number;
  readonly answered: number;
  /** Whether the instance knew, from before the question until after the answer, that it received no notifications. */
  readonly isDeaf: boolean;
}

/** The writes of one learner, and the logs that an answer may show. */
export class History {
  readonly #writes: Write[] = [];

  /** Records that a write begins. @returns a function to call when the write is answered */
  begin(instance: Instance, isDeletion: boolean, apply: (log: Log) => Log): () => void {
    const began = performance.now();
    const write = { instance, isDeletion, began, answered: Number.POSITIVE_INFINITY, apply };
    this.#writes.push(write);
    return () => {
      write.answered = performance.now();
    };
  }

  /**
   * Returns every log that an answer may be a recount of. Each contains all writes that the answer must show, and some
   * or none of those that it may show. If a write was answered before another one began, it is applied first.
   */
  possibleLogs(times: QuestionTimes): Log[] {
    const found = new Map<string, Log>();
    const seen = new Set<string>();
    const visit = (shown: ReadonlySet<Write>, log: Log) => {
      const rest = this.#writes.filter((write) => !shown.has(write));
      const state = `${rest.map((write) => this.#writes.indexOf(write))}|${contentsOf(log)}`;
      if (seen.has(state)) return;
      seen.add(state);
      if (!rest.some((write) => mustShow(times, write))) found.set(contentsOf(log), log);
      for (const next of rest) {
        const isNext = !rest.some((write) => write.answered < next.began);
        if (isNext && next.began <= times.answered) visit(new Set([...shown, next]), next.apply(log));
      }
    };
    visit(new Set(), new Map());
    return [...found.values()];
  }
}

/**
 * Whether an answer must show a write. An instance must show its own writes once it has answered them. After the
 * lease, it must also show a write that the other instance has answered. It must show this at once if it is a deletion,
 * which is answered only when it is effective on all instances, or if the instance knows that it receives no
 * notifications.
 */
function mustShow({ instance, asked, isDeaf }: QuestionTimes, write: Write): boolean {
  const isVisibleAtOnce = write.instance === instance || write.isDeletion || isDeaf;
  return write.answered <= asked - (isVisibleAtOnce ? 0 : leaseMs);
}

function contentsOf(log: Log): string {
  return [...log.keys()].sort().join();
}
