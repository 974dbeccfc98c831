import { connect as connectHttp2, constants } from "node:http2";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { create, toBinary } from "@bufbuild/protobuf";
import { createContextValues } from "@connectrpc/connect";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { describe, expect, onTestFinished, test } from "vitest";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { unaryNodeAdapter } from "../../../src/transport/unary/unary-node-adapter.ts";
import { adapters } from "../../support/adapters.ts";
import { askHttp1, askHttp2, ownAgent } from "../../support/plain-requests.ts";
import { type Methods, pathOf, serve } from "./adapters.ts";

// What the lean path does in addition to connect-node's adapter: every wait is bounded, and a request does not affect
// other requests.

const path = pathOf("CreateEntry");
const grpc = { "content-type": "application/grpc", te: "trailers" };
const json = { "content-type": "application/json" };
const message = toBinary(CreateEntryRequestSchema, create(CreateEntryRequestSchema, { userId: "mia" }));
const framed = encodeEnvelope(0, message);

const echo: Methods = {
  createEntry: ({ userId }) => ({ entry: { userId } }),
  async *importEntries(requests) {
    for await (const _ of requests) yield {};
  },
};

/** A handler that never answers, and ignores its deadline. */
const never: Methods = { createEntry: () => new Promise(() => {}) };

describe("a deadline", () => {
  test("is enforced although the handler ignores it", async () => {
    const url = await serve(unaryNodeAdapter, never);
    const headers = { ...grpc, "grpc-timeout": "50m", "connect-timeout-ms": "50" };
    const { trailers } = await askHttp2(url, { path, headers, body: [framed] });
    expect(trailers).toMatchObject({ "grpc-status": "4", "grpc-message": "the%20operation%20timed%20out" });
    for (const ask of [askHttp1, askHttp2]) {
      const answer = await ask(url, { path, headers: { ...headers, ...json }, body: [Buffer.from("{}")] });
      expect(answer.status).toBe(504);
      expect(JSON.parse(String(answer.body))).toMatchObject({ code: "deadline_exceeded" });
    }
  });

  test("of a delegated call is enforced, too", async () => {
    const url = await serve(unaryNodeAdapter, never);
    const headers = { ...grpc, "grpc-timeout": "50m" };
    const { trailers } = await askHttp1(url, { path, headers, body: [framed] });
    expect(trailers).toMatchObject({ "grpc-status": "4" });
  });

  test("is enforced although the message is never completed", async () => {
    const url = await serve(unaryNodeAdapter, echo);
    const session = connectHttp2(url);
    onTestFinished(() => session.destroy());
    const stream = session.request({ ":method": "POST", ":path": path, ...grpc, "grpc-timeout": "50m" });
    stream.write(framed.subarray(0, 3));
    stream.resume();
    const trailers = await new Promise((resolve) => stream.once("trailers", resolve));
    expect(trailers).toMatchObject({ "grpc-status": "4" });
  });

  test("that has already passed is reported without calling the handler", async () => {
    let calls = 0;
    const url = await serve(unaryNodeAdapter, {
      createEntry() {
        calls += 1;
        return {};
      },
    });
    const headers = { ...grpc, "grpc-timeout": "0n" };
    const { trailers } = await askHttp2(url, { path, headers, body: [framed] });
    expect(trailers).toMatchObject({ "grpc-status": "4" });
    expect(calls).toBe(0);
  });

  test.for(["99999999H", "600H", "597H", "9999999S"])(
    "of %s, which is too long for a timer, does not time out unary calls or streams at once",
    async (timeout) => {
      for (const adapter of Object.values(adapters)) {
        const url = await serve(adapter, echo);
        const headers = { "grpc-timeout": timeout };
        for (const called of [path, pathOf("ImportEntries")]) {
          const request = { path: called, headers: { ...grpc, ...headers }, body: [framed] };
          const { trailers } = await askHttp2(url, request);
          expect(trailers).toMatchObject({ "grpc-status": "0" });
        }
        const request = { path, headers: { "content-type": "application/grpc-web", ...headers } };
        const { body } = await askHttp1(url, { ...request, body: [framed] });
        expect(String(body)).toContain("grpc-status: 0");
      }
    },
  );

  test("in connect-timeout-ms that is too long for a timer does not time out calls at once", async () => {
    for (const adapter of Object.values(adapters)) {
      const url = await serve(adapter, echo);
      const headers = { "connect-timeout-ms": "9999999999" };
      const unary = { path, headers: { ...json, ...headers }, body: [Buffer.from("{}")] };
      expect((await askHttp1(url, unary)).status).toBe(200);
      expect((await askHttp2(url, unary)).status).toBe(200);
      const type = { "content-type": "application/connect+json" };
      const stream = { path: pathOf("ImportEntries"), headers: { ...type, ...headers } };
      const { body } = await askHttp2(url, { ...stream, body: [encodeEnvelope(0, Buffer.from("{}"))] });
      expect(String(body)).not.toContain("deadline_exceeded");
    }
  });
});

describe("the rest of a body after the answer", () => {
  test("does not block the connection over HTTP/1.1", async () => {
    const url = await serve(unaryNodeAdapter, echo, { readMaxBytes: 1000 });
    const agent = ownAgent();
    const large = [Buffer.alloc(1_000_000, " "), Buffer.alloc(1_000_000, " ")];
    for (let times = 0; times < 3; times += 1) {
      const refused = await askHttp1(url, { path, headers: json, body: large }, agent);
      expect(refused.status).toBe(429);
      const taken = await askHttp1(url, { path, headers: json, body: [Buffer.from("{}")] }, agent);
      expect(taken.status).toBe(200);
    }
  });

  test("is stopped over HTTP/2 by a reset with NO_ERROR", async () => {
    const url = await serve(unaryNodeAdapter, echo, { readMaxBytes: 1000 });
    const session = connectHttp2(url);
    onTestFinished(() => session.destroy());
    const importPath = pathOf("ImportEntries");
    for (const headers of [
      { ":path": path, ...grpc },
      { ":path": path, "content-type": "application/proto", "content-length": "2000" },
      // Delegated to connect-node.
      { ":path": importPath, ...grpc },
    ]) {
      const stream = session.request({ ":method": "POST", ...headers });
      stream.write(Buffer.of(0, 0, 0, 255, 255));
      stream.resume();
      await new Promise((resolve) => stream.once("close", resolve));
      expect(stream.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
    }
  });
});

test("a body that ends directly after the length of a message is rejected as incomplete", async () => {
  const url = await serve(unaryNodeAdapter, echo);
  for (const body of [Buffer.of(0, 0, 0, 0, 7), Buffer.concat([framed, Buffer.of(0, 0, 0, 0, 7)])]) {
    const { trailers } = await askHttp2(url, { path, headers: grpc, body: [body] });
    expect(trailers).toMatchObject({ "grpc-status": "3" });
  }
});

test("a response header that cannot be sent aborts only its own call", async () => {
  const url = await serve(unaryNodeAdapter, {
    createEntry({ userId }, { responseHeader }) {
      // Headers accepts a control character, but HTTP/1.1 does not.
      if (userId === "bad") responseHeader.set("x-bad", "\u0001");
      return {};
    },
  });
  const ask = (userId: string) =>
    askHttp1(url, { path, headers: json, body: [Buffer.from(JSON.stringify({ userId }))] });
  await expect(ask("bad")).rejects.toMatchObject({ code: "ECONNRESET" });
  await expect(ask("good")).resolves.toMatchObject({ status: 200 });
});

test.for([
  ["status 400 for an invalid host", { ":authority": ":99999" }, 400],
  ["status 417 for an unknown expectation", { expect: "the unexpected" }, 417],
] as const)("a request over HTTP/2 is rejected with %s", async ([, headers, status]) => {
  const url = await serve(unaryNodeAdapter, echo);
  expect((await askHttp2(url, { path, headers: { ...grpc, ...headers } })).status).toBe(status);
});

test("a client that waits for 100 Continue receives it", async () => {
  const url = await serve(unaryNodeAdapter, echo);
  const session = connectHttp2(url);
  onTestFinished(() => session.destroy());
  const stream = session.request({ ":method": "POST", ":path": path, ...grpc, expect: "100-continue" });
  stream.once("continue", () => stream.end(framed));
  stream.resume();
  const trailers = await new Promise((resolve) => stream.once("trailers", resolve));
  expect(trailers).toMatchObject({ "grpc-status": "0" });
});

test("an exception in contextValues fails only its own call", async () => {
  const contextValues = ({ headers }: { headers: Record<string, unknown> }) => {
    if (headers["x-bad"] !== undefined) throw new Error("no values");
    return createContextValues();
  };
  const url = await serve(unaryNodeAdapter, echo, { contextValues });
  for (const ask of [askHttp1, askHttp2]) {
    const request = { path, headers: json, body: [Buffer.from("{}")] };
    const refused = await ask(url, { ...request, headers: { ...json, "x-bad": "1" } });
    expect(refused.status).toBe(500);
    expect((await ask(url, request)).status).toBe(200);
  }
});

test("callers that disconnect at any time do not affect other calls", async () => {
  const url = await serve(unaryNodeAdapter, {
    createEntry: () => new Promise((resolve) => setTimeout(resolve, 5, {})),
  });
  const { port } = new URL(url);
  const session = connectHttp2(url);
  onTestFinished(() => session.destroy());
  for (let call = 0; call < 50; call += 1) {
    const stream = session.request({ ":method": "POST", ":path": path, ...grpc });
    stream.on("error", () => {});
    stream.write(framed.subarray(0, call % framed.length));
    setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), call % 10);
    const socket = connect(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
    );
    setTimeout(() => socket.destroy(), call % 10);
  }
  const { trailers } = await askHttp2(url, { path, headers: grpc, body: [framed] });
  expect(trailers).toMatchObject({ "grpc-status": "0" });
});

test("pipelined requests on an HTTP/1.1 connection are answered in order", async () => {
  const url = await serve(unaryNodeAdapter, echo);
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
  socket.write(
    `${head}Content-Length: 14\r\n\r\n{"userId":"1"}${head}Content-Length: 14\r\n\r\n{"userId":"2"}`,
  );
  socket.end(`${head}Connection: close\r\nContent-Length: 14\r\n\r\n{"userId":"3"}`);
  const answers = String(await buffer(socket));
  expect(answers.match(/"userId":"(\d)"/g)).toEqual(['"userId":"1"', '"userId":"2"', '"userId":"3"']);
});
