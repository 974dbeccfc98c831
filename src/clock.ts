import { setTimeout as sleep } from "node:timers/promises";

/** The clock of a class that waits or measures time. It is a parameter, so that tests can control the time. */
export interface Clock {
  /** Milliseconds since an arbitrary moment. Never decreases. */
  now(): number;
  /** Resolves after `ms` milliseconds, or when the signal aborts. Does not keep the process alive. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** The clock of this process. */
export const processClock: Clock = {
  now: () => performance.now(),
  async sleep(ms, signal) {
    await sleep(ms, undefined, { signal, ref: false }).catch(() => {});
  },
};
