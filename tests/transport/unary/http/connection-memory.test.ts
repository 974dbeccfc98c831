import { type ClientHttp2Session, type ClientHttp2Stream, constants } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { expect, onTestFinished, test } from "vitest";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { ConnectionMemory } from "../../../../src/transport/unary/http/connection-memory.ts";
import { unaryNodeAdapter } from "../../../../src/transport/unary/unary-node-adapter.ts";
import { serve } from "../adapters.ts";
import { closing, connectTo, startCall, statusOf, withUserId } from "../http2-calls.ts";

// The calls of an HTTP/2 connection hold a limited amount of memory. Released memory is available again.

const ok = "0";
const resourceExhausted = "8";
const small = encodeEnvelope(0, toBinary(CreateEntryRequestSchema, create(CreateEntryRequestSchema, {})));

test("an incomplete request is rejected if the requests of its connection would hold more than 128 MiB", async () => {
  const session = connectTo(await serve(unaryNodeAdapter, { createEntry: () => ({}) }));
  const size = 48 * 1024 * 1024;
  const large = encodeEnvelope(0, toBinary(CreateEntryRequestSchema, withUserId(size)));
  const unfinished = Array.from({ length: 3 }, () => send(session, large.subarray(0, -1)));
  await expect(Promise.race(unfinished.map(statusOf))).resolves.toBe(resourceExhausted);
  await expect(statusOf(send(session, small).end())).resolves.toBe(ok);

  for (const stream of unfinished) stream.close(constants.NGHTTP2_CANCEL);
  for (let times = 0; times < 4; times += 1) {
    await expect(statusOf(send(session, large).end())).resolves.toBe(ok);
  }
});

test("an answer is not sent if the unread answers of its connection would hold more than 128 MiB", async () => {
  const { userId } = withUserId(48 * 1024 * 1024);
  const session = connectTo(await serve(unaryNodeAdapter, { createEntry: () => ({ entry: { userId } }) }));
  const unread = Array.from({ length: 3 }, () => send(session, small).end());
  const refused = await Promise.race(unread.map(closing));
  expect(refused.rstCode).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
});

test("a new connection gets memory while others hold all that they can, and more when they release it", () => {
  const part = 64 * 1024;
  const greedy = Array.from({ length: 20 }, () => new ConnectionMemory({}));
  onTestFinished(() => {
    for (const memory of greedy) memory.release();
  });
  for (const memory of greedy) while (memory.hold(part));
  expect(greedy[0]?.bytes).toBe(128 * 1024 * 1024);
  expect(greedy.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(640 * 1024 * 1024);
  // More than a batch of 1000 entries needs.
  const next = new ConnectionMemory({});
  expect(next.hold(1024 * 1024)).toBe(true);

  next.release();
  for (const memory of greedy) memory.release();
  expect(next.hold(128 * 1024 * 1024)).toBe(true);
  next.release();
});

/** Starts a call, sends its body, and leaves the request open. */
function send(session: ClientHttp2Session, body: Uint8Array): ClientHttp2Stream {
  const stream = startCall(session, "CreateEntry", "application/grpc");
  stream.write(body);
  return stream;
}
