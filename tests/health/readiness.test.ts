import { expect, test } from "vitest";
import { Readiness } from "../../src/health/readiness.ts";
import { TestClock } from "../support/test-clock.ts";

const never = new Promise<undefined>(() => {});

/** Resolves after the callbacks of promises that have settled. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("a service is probed again after each interval, and no more after it drains", async () => {
  const clock = new TestClock();
  clock.stop();
  let probes = 0;
  const probe = async () => {
    probes += 1;
    return undefined;
  };
  const readiness = new Readiness(probe, { intervalMs: 1_000, clock });
  await readiness.start();
  expect({ probes, state: readiness.state }).toEqual({ probes: 1, state: { ready: true } });

  clock.advance(999);
  await settle();
  expect(probes).toBe(1);
  clock.advance(1);
  await settle();
  expect(probes).toBe(2);

  readiness.drain();
  clock.advance(10_000);
  await settle();
  expect({ probes, state: readiness.state }).toEqual({
    probes: 2,
    state: { ready: false, reason: "shutting down" },
  });
});

test("a service whose probe gets no answer in time is not ready, until a probe is answered again", async () => {
  let answer: Promise<undefined> = Promise.resolve(undefined);
  const readiness = new Readiness(() => answer, { intervalMs: 20, timeoutMs: 50 });
  await readiness.start();
  expect(readiness.state).toEqual({ ready: true });
  answer = never;
  await expect.poll(() => readiness.state).toEqual({ ready: false, reason: "the database is unavailable" });
  answer = Promise.resolve(undefined);
  await expect.poll(() => readiness.state).toEqual({ ready: true });
  readiness.drain();
});
