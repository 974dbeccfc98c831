import { setTimeout as sleep } from "node:timers/promises";

/** What was measured in one turn. */
export interface Measurement {
  /** The number of calls, rows or transactions per second. */
  readonly rate: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
}

/** What was measured under a load. */
export interface LoadMeasurement extends Measurement {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The number of answered calls, including those of the warm-up and those answered after the end. */
  readonly answered: number;
}

interface LoadOptions {
  /** The number of callers. Each makes its next call when its last one is answered. */
  readonly inFlight: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

/** How long the last calls may take after the end. */
const stragglersMs = 30_000;

/**
 * Runs a closed loop: a fixed number of callers call again and again until the time is up.
 *
 * @param call makes one call, and resolves when it is answered as expected
 * @throws the first error of a call
 */
export async function runLoad(
  { inFlight, warmUpSeconds, seconds }: LoadOptions,
  call: (caller: number) => Promise<unknown>,
): Promise<LoadMeasurement> {
  const from = performance.now() + warmUpSeconds * 1000;
  const to = from + seconds * 1000;
  const latencies: number[] = [];
  let answered = 0;
  let failed = false;

  const repeat = async (caller: number) => {
    while (!failed) {
      const start = performance.now();
      if (start >= to) return;
      await call(caller);
      const end = performance.now();
      answered += 1;
      // A call counts if it is answered within the measured time, whenever it began.
      if (end >= from && end < to) latencies.push(end - start);
    }
  };
  const callers = Promise.all(Array.from({ length: inFlight }, (_, caller) => repeat(caller)));
  try {
    await withTimeLimit(callers, to + stragglersMs - performance.now());
  } finally {
    failed = true;
  }

  return measurement(latencies, seconds, answered);
}

interface PacedLoadOptions {
  /** How many calls begin per second, whether or not the earlier ones are answered. */
  readonly rate: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
}

/** The interval at which an open loop checks how many calls are due. */
const paceMs = 5;

/**
 * Runs an open loop: calls begin at a steady rate until the time is up.
 *
 * @param call makes one call, and resolves when it is answered as expected
 * @throws the first error of a call
 */
export async function runPacedLoad(
  { rate, warmUpSeconds, seconds }: PacedLoadOptions,
  call: () => Promise<unknown>,
): Promise<LoadMeasurement> {
  const begin = performance.now();
  const from = begin + warmUpSeconds * 1000;
  const to = from + seconds * 1000;
  const latencies: number[] = [];
  const calls: Promise<void>[] = [];
  let failure: unknown;
  const callOnce = async () => {
    const start = performance.now();
    try {
      await call();
    } catch (error) {
      failure ??= error;
    }
    const end = performance.now();
    if (end >= from && end < to) latencies.push(end - start);
  };
  for (let now = begin; now < to && failure === undefined; now = performance.now()) {
    while (calls.length < ((now - begin) / 1000) * rate) calls.push(callOnce());
    await sleep(paceMs);
  }
  await withTimeLimit(Promise.all(calls), stragglersMs);
  if (failure !== undefined) throw failure;
  return measurement(latencies, seconds, calls.length);
}

/** Makes calls for this many seconds without measuring them, to warm up the processes. */
export async function warmUp(
  seconds: number,
  inFlight: number,
  call: (caller: number) => Promise<unknown>,
): Promise<void> {
  await runLoad({ inFlight, warmUpSeconds: seconds, seconds: 0 }, call);
}

function measurement(latencies: readonly number[], seconds: number, answered: number): LoadMeasurement {
  const sorted = Float64Array.from(latencies).sort();
  return {
    rate: sorted.length / seconds,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    answered,
  };
}

/** The least value that this part of the sorted values does not exceed; 0 if there are no values. */
export function percentile(sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? 0;
}

async function withTimeLimit(work: Promise<unknown>, ms: number): Promise<void> {
  const timer = new AbortController();
  const limit = sleep(ms, undefined, { signal: timer.signal }).then(() => {
    throw new Error("calls are not answered");
  });
  // It rejects when it is aborted below, which is after the race.
  limit.catch(() => {});
  try {
    await Promise.race([work, limit]);
  } finally {
    timer.abort();
  }
}
