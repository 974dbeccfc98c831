import { expect, test } from "vitest";
import { SettledTime } from "../../src/database/settled-time.ts";

/** Samples as a database gives them: each one's transaction ends at once, and others may stay open. */
function simulate() {
  const settled = new SettledTime();
  const open = new Set<bigint>();
  let nextId = 100n;
  return {
    settled,
    /** Begins a transaction that has an id. @returns what ends it */
    begin(): () => void {
      const id = nextId++;
      open.add(id);
      return () => open.delete(id);
    },
    sample(clock: bigint): boolean {
      // The ids are in ascending order.
      const [oldestRunning = nextId] = open;
      return settled.add({ clock, transactionId: nextId++, oldestRunning });
    },
  };
}

test("nothing is settled before the second sample, and with it the time of the first", () => {
  const { settled, sample } = simulate();
  expect(settled.settledAt).toBeUndefined();
  sample(1n);
  expect(settled.settledAt).toBeUndefined();
  sample(2n);
  expect(settled.settledAt).toBe(1n);
  sample(3n);
  expect(settled.settledAt).toBe(2n);
});

test("a transaction that stays open holds up the time after it, for however long, and not the time before it", () => {
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

test("transactions that overlap without end hold it up by no more than the oldest of them", () => {
  const { settled, begin, sample } = simulate();
  const ends: (() => void)[] = [];
  for (let clock = 1n; clock <= 1_000n; clock += 1n) {
    ends.push(begin());
    if (ends.length > 50) ends.shift()?.();
    sample(clock);
    // The oldest that is open began after the sample of 51 samples before this one.
    if (clock > 60n) expect(settled.settledAt).toBe(clock - 50n);
  }
});

test("when the clock goes back nothing is settled, until samples of the new time are", () => {
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
