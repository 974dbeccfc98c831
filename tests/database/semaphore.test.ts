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

test("as many as may be inside enter at once, and the others in the order in which they came", async () => {
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

test("a caller who comes to a full line is refused at once, with RetryInfo", async () => {
  const semaphore = newSemaphore();
  await semaphore.acquire();
  const waiting = [semaphore.acquire(), semaphore.acquire()];
  expectRefusal(await failureOf(semaphore.acquire()));
  // The others keep their places.
  for (const one of waiting) {
    semaphore.release();
    await one;
  }
});

test("whoever waits for too long is refused, and the next one is not held up", async () => {
  const semaphore = newSemaphore({ maxWaitMs: 50 });
  await semaphore.acquire();
  expectRefusal(await failureOf(semaphore.acquire()));
  const next = semaphore.acquire();
  semaphore.release();
  await next;
});

test("whoever gives up leaves the line, and makes room in it", async () => {
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

test("whoever has given up before does not enter", async () => {
  const semaphore = newSemaphore();
  await expect(semaphore.acquire(AbortSignal.abort(new Error("gave up")))).rejects.toThrow("gave up");
  await semaphore.acquire();
});

test("no place is lost when a caller gives up at the moment of its turn", async () => {
  const semaphore = newSemaphore();
  await semaphore.acquire();
  const caller = new AbortController();
  const waiting = semaphore.acquire(caller.signal);
  semaphore.release();
  caller.abort();
  // It is inside all the same, and leaves as everybody does.
  await waiting;
  semaphore.release();
  await semaphore.acquire();
});

test("a place that everybody has left is free again", async () => {
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
