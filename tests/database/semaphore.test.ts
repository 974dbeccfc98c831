import { Code, type ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { Semaphore } from "../../src/database/semaphore.ts";
import { failureOf } from "../support/failures.ts";

const newSemaphore = (limits: Partial<ConstructorParameters<typeof Semaphore>[0]> = {}) =>
  new Semaphore({
    permits: 1,
    maxWaiting: 2,
    maxWaitMs: 60_000,
    refusal: "too many are here",
    ...limits,
  });

function expectRefusal(error: ConnectError): void {
  expect({ code: error.code, message: error.rawMessage }).toEqual({
    code: Code.ResourceExhausted,
    message: "too many are here",
  });
  expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
}

test("callers get free permits at once, and released permits in the order of their arrival", async () => {
  const semaphore = newSemaphore({ permits: 2 });
  await semaphore.acquire();
  await semaphore.acquire();
  const entered: string[] = [];
  const first = semaphore.acquire().then(() => entered.push("first"));
  const second = semaphore.acquire().then(() => entered.push("second"));
  semaphore.release();
  await first;
  expect(entered).toEqual(["first"]);
  semaphore.release();
  await second;
  expect(entered).toEqual(["first", "second"]);
});

test("a caller that finds the queue full is rejected at once, with RetryInfo", async () => {
  const semaphore = newSemaphore();
  await semaphore.acquire();
  const waiting = [semaphore.acquire(), semaphore.acquire()];
  expectRefusal(await failureOf(semaphore.acquire()));
  // The waiting callers keep their places.
  for (const one of waiting) {
    semaphore.release();
    await one;
  }
});

test("a caller that waits too long is rejected, and does not delay the next one", async () => {
  const semaphore = newSemaphore({ maxWaitMs: 50 });
  await semaphore.acquire();
  expectRefusal(await failureOf(semaphore.acquire()));
  const next = semaphore.acquire();
  semaphore.release();
  await next;
});

test("a caller that cancels frees its place in the queue", async () => {
  const semaphore = newSemaphore({ maxWaiting: 1 });
  await semaphore.acquire();
  const caller = new AbortController();
  const waiting = semaphore.acquire(caller.signal);
  caller.abort(new Error("gave up"));
  await expect(waiting).rejects.toThrow("gave up");
  const next = semaphore.acquire();
  semaphore.release();
  await next;
});

test("a caller that has already cancelled gets no permit", async () => {
  const semaphore = newSemaphore();
  await expect(semaphore.acquire(AbortSignal.abort(new Error("gave up")))).rejects.toThrow("gave up");
  await semaphore.acquire();
});

test("no permit is lost if a caller cancels immediately after its permit was granted", async () => {
  const semaphore = newSemaphore();
  await semaphore.acquire();
  const caller = new AbortController();
  const waiting = semaphore.acquire(caller.signal);
  semaphore.release();
  caller.abort();
  // The caller holds the permit nevertheless, and must release it.
  await waiting;
  semaphore.release();
  await semaphore.acquire();
});

test("a released permit can be acquired again, by one caller only", async () => {
  const semaphore = newSemaphore();
  for (let round = 0; round < 3; round += 1) {
    await semaphore.acquire();
    semaphore.release();
  }
  await semaphore.acquire();
  expect(await Promise.race([semaphore.acquire().then(() => "inside"), Promise.resolve("waiting")])).toBe(
    "waiting",
  );
});
