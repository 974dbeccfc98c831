import { setTimeout as sleep } from "node:timers/promises";

/** The time that a class goes by which waits or measures: a parameter, so that tests can stop it. */
export interface Clock {
  /** Milliseconds since some moment. Never goes back. */
  now(): number;
  /** Resolves after so many milliseconds, or when the signal aborts. Does not keep the process alive. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** The clock of this process. */
export const processClock: Clock = {
  now: () => performance.now(),
  async sleep(ms, signal) {
    await sleep(ms, undefined, { signal, ref: false }).catch(() => {});
  },
};
