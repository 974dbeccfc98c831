import { Code, type ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { WaitingLine } from "../../src/database/waiting-line.ts";
import { failureOf } from "../support/failures.ts";

const newLine = (limits: Partial<ConstructorParameters<typeof WaitingLine>[0]> = {}) =>
  new WaitingLine({
    maxInside: 1,
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
  const line = newLine({ maxInside: 2 });
  await line.enter();
  await line.enter();
  const entered: string[] = [];
  const first = line.enter().then(() => entered.push("first"));
  const second = line.enter().then(() => entered.push("second"));
  line.leave();
  await first;
  expect(entered).toEqual(["first"]);
  line.leave();
  await second;
  expect(entered).toEqual(["first", "second"]);
});

test("a caller who comes to a full line is refused at once, with RetryInfo", async () => {
  const line = newLine();
  await line.enter();
  const waiting = [line.enter(), line.enter()];
  expectRefusal(await failureOf(line.enter()));
  // The others keep their places.
  for (const one of waiting) {
    line.leave();
    await one;
  }
});

test("whoever waits for too long is refused, and the next one is not held up", async () => {
  const line = newLine({ maxWaitMs: 50 });
  await line.enter();
  expectRefusal(await failureOf(line.enter()));
  const next = line.enter();
  line.leave();
  await next;
});

test("whoever gives up leaves the line, and makes room in it", async () => {
  const line = newLine({ maxWaiting: 1 });
  await line.enter();
  const caller = new AbortController();
  const waiting = line.enter(caller.signal);
  caller.abort(new Error("gave up"));
  await expect(waiting).rejects.toThrow("gave up");
  const next = line.enter();
  line.leave();
  await next;
});

test("whoever has given up before does not enter", async () => {
  const line = newLine();
  await expect(line.enter(AbortSignal.abort(new Error("gave up")))).rejects.toThrow("gave up");
  await line.enter();
});

test("no place is lost when a caller gives up at the moment of its turn", async () => {
  const line = newLine();
  await line.enter();
  const caller = new AbortController();
  const waiting = line.enter(caller.signal);
  line.leave();
  caller.abort();
  // It is inside all the same, and leaves as everybody does.
  await waiting;
  line.leave();
  await line.enter();
});

test("a place that everybody has left is free again", async () => {
  const line = newLine();
  for (let round = 0; round < 3; round += 1) {
    await line.enter();
    line.leave();
  }
  await line.enter();
  expect(await Promise.race([line.enter().then(() => "inside"), Promise.resolve("waiting")])).toBe("waiting");
});
