import { expect, test } from "vitest";
import { SettledTime } from "../../src/database/settled-time.ts";

/** Simulates the samples of a database. A sample's transaction ends at once; other transactions may stay open. */
function simulate() {
  const settled = new SettledTime();
  const open = new Set<bigint>();
  let nextId = 100n;
  return {
    settled,
    /** Begins a transaction, which gets an id at once. @returns a function that ends it */
    begin(): () => void {
      const id = nextId++;
      open.add(id);
      return () => open.delete(id);
    },
    sample(clock: bigint): boolean {
      // A set keeps the order of insertion, so the first id is the smallest one.
      const [oldestRunning = nextId] = open;
      return settled.add({ clock, transactionId: nextId++, oldestRunning });
    },
  };
}

test("settledAt is undefined until the second sample, and is then the time of the previous sample", () => {
  const { settled, sample } = simulate();
  expect(settled.settledAt).toBeUndefined();
  sample(1n);
  expect(settled.settledAt).toBeUndefined();
  sample(2n);
  expect(settled.settledAt).toBe(1n);
  sample(3n);
  expect(settled.settledAt).toBe(2n);
});

test("settledAt stays at the last sample before an open transaction, however long the transaction takes", () => {
  const { settled, begin, sample } = simulate();
  for (let clock = 1n; clock <= 3n; clock += 1n) sample(clock);
  const end = begin();
  for (let clock = 4n; clock <= 20_000n; clock += 1n) {
    sample(clock);
    if (settled.settledAt !== 3n) throw new Error(`${settled.settledAt} counts as settled`);
  }
  end();
  sample(20_001n);
  expect(settled.settledAt).toBeGreaterThan(3n);
  expect(settled.settledAt).toBeLessThanOrEqual(20_000n);
  sample(20_002n);
  expect(settled.settledAt).toBe(20_001n);
});

test("with continuously overlapping transactions, settledAt is behind by no more than the oldest one", () => {
  const { settled, begin, sample } = simulate();
  const ends: (() => void)[] = [];
  for (let clock = 1n; clock <= 1_000n; clock += 1n) {
    ends.push(begin());
    if (ends.length > 50) ends.shift()?.();
    sample(clock);
    // The oldest open transaction began immediately after the sample that is 50 samples before this one.
    if (clock > 60n) expect(settled.settledAt).toBe(clock - 50n);
  }
});

test("after the clock goes backwards, settledAt is undefined until samples of the new time are settled", () => {
  const { settled, begin, sample } = simulate();
  sample(1_000n);
  expect(sample(1_000n)).toBe(true);
  expect(settled.settledAt).toBe(1_000n);
  const end = begin();
  expect(sample(999n)).toBe(false);
  expect(settled.settledAt).toBeUndefined();
  sample(1_000n);
  expect(settled.settledAt).toBeUndefined();
  end();
  sample(1_001n);
  expect(settled.settledAt).toBe(1_000n);
});
