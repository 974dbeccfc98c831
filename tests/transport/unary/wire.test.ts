import { gzipSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { encodeEnvelope, encodeEnvelopes } from "@connectrpc/connect/protocol";
import { describe, expect, test } from "vitest";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { GetSummaryRequestSchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { adapters } from "../../support/adapters.ts";
import { askHttp1, askHttp2, type PlainAnswer, type PlainRequest } from "../../support/plain-requests.ts";
import { type Methods, pathOf, serve } from "./adapters.ts";

// What goes over the wire, asked without a library of RPC: both adapters answer the same, to the header.

const methods: Methods = {
  createEntry({ userId }, { responseHeader, responseTrailer }) {
    if (userId === "fail") throw new ConnectError("as asked", Code.NotFound, { "x-error": "1" });
    if (userId === "tell") {
      responseHeader.append("x-header", "h");
      responseHeader.append("set-cookie", "a=1");
      responseHeader.append("set-cookie", "b=2");
      responseHeader.append("connection", "close");
      responseTrailer.append("x-trailer", "t");
    }
    return { entry: { userId } };
  },
  getSummary: ({ userId }) => ({ nextPageToken: userId }),
};

const options = { readMaxBytes: 10_000, maxTimeoutMs: 60_000 };

const small = messageFrom("mia");
const long = messageFrom("x".repeat(5000));
const half = small.subarray(0, small.length - 1);
const json = Buffer.from('{"userId":"mia"}');

const grpc = { "content-type": "application/grpc", te: "trailers" };
const grpcBodies: Readonly<Record<string, readonly [status: number, body: Uint8Array]>> = {
  "one message": [0, encodeEnvelope(0, small)],
  "an empty message": [0, encodeEnvelope(0, new Uint8Array())],
  "a long message": [0, encodeEnvelope(0, long)],
  "a message that makes the handler fail": [5, encodeEnvelope(0, messageFrom("fail"))],
  "a message that makes the handler tell more": [0, encodeEnvelope(0, messageFrom("tell"))],
  nothing: [12, new Uint8Array()],
  "two messages": [12, encodeEnvelopes({ flags: 0, data: small }, { flags: 0, data: long })],
  "two messages, the second one damaged": [
    3,
    encodeEnvelopes({ flags: 0, data: small }, { flags: 0, data: half }),
  ],
  "half a prefix": [3, Uint8Array.of(0, 0)],
  "half a message": [3, encodeEnvelope(0, small).subarray(0, -1)],
  "a message and a half": [3, Buffer.concat([encodeEnvelope(0, small), Uint8Array.of(0, 0)])],
  "no message of the schema": [3, encodeEnvelope(0, half)],
  "more than the limit": [8, encodeEnvelope(0, messageFrom("x".repeat(10_001)))],
  "the announcement of more than the limit": [8, Uint8Array.of(0, 255, 255, 255, 255)],
  "a compressed message without a word": [13, encodeEnvelope(1, gzipSync(small))],
  "a flag that means nothing": [0, encodeEnvelope(2, small)],
};

describe("a body over gRPC is answered the same, whole or byte by byte", () => {
  test.for(Object.entries(grpcBodies))("%s", async ([, [status, body]]) => {
    for (const pieces of [[body], inBytes(body)]) {
      const answer = await bothAnswer(askHttp2, { path: pathOf("CreateEntry"), headers: grpc, body: pieces });
      expect(answer).toMatchObject({
        status: 200,
        headers: { "content-type": "application/grpc+proto" },
        trailers: { "grpc-status": String(status) },
      });
    }
  });
});

test("a damaged message is told before what comes in later pieces, and after what comes in its own", async () => {
  const body = Buffer.concat([encodeEnvelope(0, half), Uint8Array.of(0, 255, 255, 255, 255)]);
  const path = pathOf("CreateEntry");
  const whole = await bothAnswer(askHttp2, { path, headers: grpc, body: [body] });
  expect(whole.trailers["grpc-status"]).toBe("8");
  const pieces = await bothAnswer(askHttp2, { path, headers: grpc, body: inBytes(body) });
  expect(pieces.trailers["grpc-status"]).toBe("3");
});

describe("a body over gRPC-Web is answered the same", () => {
  const bodies = {
    ...grpcBodies,
    "an end of stream, which counts for nothing": [12, encodeEnvelope(0x80, small)],
    "an end of stream, and a message": [
      0,
      encodeEnvelopes({ flags: 0x80, data: long }, { flags: 0, data: small }),
    ],
  } as const;
  test.for(Object.entries(bodies))("%s", async ([, [status, body]]) => {
    const headers = { "content-type": "application/grpc-web+proto" };
    for (const ask of [askHttp1, askHttp2]) {
      const answer = await bothAnswer(ask, { path: pathOf("CreateEntry"), headers, body: [body] });
      expect(answer).toMatchObject({
        status: 200,
        headers: { "content-type": "application/grpc-web+proto" },
      });
      expect(answer.body.toString("latin1")).toContain(`grpc-status: ${status}\r\n`);
    }
  });
});

describe("the headers of a request are answered the same", () => {
  const framed = encodeEnvelope(0, small);
  const packed = encodeEnvelope(1, gzipSync(small));
  test.for([
    ["a type in other letters", { "content-type": "Application/GRPC+Proto" }, framed, 0],
    [
      "JSON with a charset",
      { "content-type": "application/grpc+json; charset=utf-8" },
      encodeEnvelope(0, json),
      0,
    ],
    ["a deadline", { "grpc-timeout": "10S" }, framed, 0],
    ["a deadline without a unit", { "grpc-timeout": "10" }, framed, 3],
    ["a deadline of too many digits", { "grpc-timeout": "123456789n" }, framed, 3],
    ["a deadline over the limit", { "grpc-timeout": "2M" }, framed, 3],
    ["gzip", { "grpc-encoding": "gzip" }, packed, 0],
    ["gzip for an answer that is too short for it", { "grpc-accept-encoding": "identity, gzip" }, framed, 0],
    ["brotli before gzip", { "grpc-accept-encoding": "br,gzip" }, encodeEnvelope(0, long), 0],
    ["identity", { "grpc-encoding": "identity" }, framed, 0],
    ["an unknown encoding", { "grpc-encoding": "zip" }, framed, 12],
    [
      "an unknown encoding and a deadline that is none",
      { "grpc-encoding": "zip", "grpc-timeout": "1" },
      framed,
      12,
    ],
    ["gzip that is none", { "grpc-encoding": "gzip" }, encodeEnvelope(1, small), 3],
    [
      "gzip of more than the limit",
      { "grpc-encoding": "gzip" },
      encodeEnvelope(1, gzipSync(Buffer.alloc(99_999))),
      8,
    ],
  ] as const)("over gRPC: %s", async ([, headers, body, status]) => {
    const request = { path: pathOf("CreateEntry"), headers: { ...grpc, ...headers }, body: [body] };
    const { trailers } = await bothAnswer(askHttp2, request);
    expect(trailers["grpc-status"]).toBe(String(status));
  });

  test.for([
    ["Protobuf", { "content-type": "application/proto" }, small, 200],
    ["JSON", { "content-type": "application/json" }, json, 200],
    ["JSON with a charset", { "content-type": "application/json;charset=utf-8" }, json, 200],
    ["nothing, which is an empty message", { "content-type": "application/proto" }, new Uint8Array(), 200],
    ["nothing, which is no JSON", { "content-type": "application/json" }, new Uint8Array(), 400],
    [
      "a message that makes the handler fail",
      { "content-type": "application/proto" },
      messageFrom("fail"),
      404,
    ],
    [
      "a message that makes the handler tell more",
      { "content-type": "application/proto" },
      messageFrom("tell"),
      200,
    ],
    ["a deadline", { "content-type": "application/json", "connect-timeout-ms": "10000" }, json, 200],
    [
      "a deadline that is none",
      { "content-type": "application/json", "connect-timeout-ms": "-1" },
      json,
      400,
    ],
    [
      "a deadline over the limit",
      { "content-type": "application/json", "connect-timeout-ms": "60001" },
      json,
      400,
    ],
    ["half a message", { "content-type": "application/proto" }, half, 400],
    ["more than the limit", { "content-type": "application/proto" }, messageFrom("x".repeat(10_001)), 429],
    ["gzip", { "content-type": "application/proto", "content-encoding": "gzip" }, gzipSync(small), 200],
    ["an unknown encoding", { "content-type": "application/proto", "content-encoding": "zip" }, small, 501],
    ["gzip that is none", { "content-type": "application/proto", "content-encoding": "gzip" }, small, 400],
    ["gzip wanted", { "content-type": "application/proto", "accept-encoding": "deflate, gzip" }, long, 200],
    [
      "gzip wanted of a short answer",
      { "content-type": "application/proto", "accept-encoding": "gzip" },
      small,
      200,
    ],
    ["the type of a stream", { "content-type": "application/connect+proto" }, small, 415],
    ["the type of gRPC-Web with text", { "content-type": "application/grpc-web-text" }, small, 415],
    ["an unknown type", { "content-type": "text/plain" }, small, 415],
    ["no type", {}, small, 415],
  ] as const)("over Connect: %s", async ([, headers, body, status]) => {
    for (const ask of [askHttp1, askHttp2]) {
      const answer = await bothAnswer(ask, { path: pathOf("CreateEntry"), headers, body: [body] });
      expect(answer.status).toBe(status);
    }
  });

  test.for([
    ["none", {}, 400],
    ["another version", { "connect-protocol-version": "2" }, 400],
    ["the version", { "connect-protocol-version": "1" }, 200],
  ] as const)("where the version of Connect is required: %s", async ([, headers, status]) => {
    const request = {
      path: pathOf("CreateEntry"),
      headers: { "content-type": "application/json", ...headers },
      body: [json],
    };
    const answer = await bothAnswer(askHttp1, request, { requireConnectProtocolHeader: true });
    expect(answer.status).toBe(status);
  });
});

describe("a header that is sent twice is answered the same", () => {
  const framed = encodeEnvelope(0, small);
  const types = {
    grpc: [grpc, framed],
    "grpc-web": [{ "content-type": "application/grpc-web" }, framed],
    connect: [{ "content-type": "application/proto" }, small],
  } as const;
  test.for([
    ["grpc", "grpc-encoding", "gzip"],
    ["grpc", "grpc-accept-encoding", "gzip"],
    ["grpc", "grpc-timeout", "10S"],
    ["grpc-web", "grpc-encoding", "gzip"],
    ["grpc-web", "grpc-accept-encoding", "gzip"],
    ["grpc-web", "grpc-timeout", "10S"],
    ["connect", "accept-encoding", "gzip"],
    ["connect", "connect-timeout-ms", "10000"],
    ["connect", "connect-protocol-version", "1"],
  ] as const)("over %s: %s", async ([protocol, name, value]) => {
    const [headers, body] = types[protocol];
    for (const values of [
      [value, ""],
      ["", value],
      [value, value],
      ["", ""],
      ["\u00a0", value, "\u00a0"],
    ]) {
      for (const ask of protocol === "grpc" ? [askHttp2] : [askHttp1, askHttp2]) {
        const request = {
          path: pathOf("CreateEntry"),
          headers: { ...headers, [name]: values },
          body: [body],
        };
        await bothAnswer(ask, request, { requireConnectProtocolHeader: name.endsWith("version") });
      }
    }
  });
});

describe("what is no unary call is answered the same", () => {
  const message = encodeURIComponent('{"userId":"mia"}');
  const base64 = Buffer.from(
    toBinary(GetSummaryRequestSchema, create(GetSummaryRequestSchema, { userId: "mia" })),
  );
  test.for([
    ["an unknown path", "POST", "/nowhere", 404],
    ["an unknown method", "POST", `${pathOf("CreateEntry")}s`, 404],
    ["PUT", "PUT", pathOf("CreateEntry"), 405],
    ["GET of what has side effects", "GET", `${pathOf("CreateEntry")}?encoding=json&message=${message}`, 405],
    ["GET", "GET", `${pathOf("GetSummary")}?encoding=json&message=${message}`, 200],
    [
      "GET in base64",
      "GET",
      `${pathOf("GetSummary")}?encoding=proto&base64=1&message=${base64.toString("base64url")}`,
      200,
    ],
    ["GET of a message that is none", "GET", `${pathOf("GetSummary")}?encoding=json&message=x`, 400],
    ["GET of base64 that is none", "GET", `${pathOf("GetSummary")}?encoding=proto&base64=1&message=*`, 400],
    ["GET without a message", "GET", `${pathOf("GetSummary")}?encoding=proto`, 200],
    ["GET without an encoding", "GET", `${pathOf("GetSummary")}?message=${message}`, 415],
    [
      "GET with an unknown compression",
      "GET",
      `${pathOf("GetSummary")}?encoding=json&message={}&compression=zip`,
      501,
    ],
    ["HEAD", "HEAD", `${pathOf("GetSummary")}?encoding=json&message={}`, 405],
    ["OPTIONS", "OPTIONS", pathOf("GetSummary"), 405],
  ] as const)("%s", async ([, method, path, status]) => {
    for (const ask of [askHttp1, askHttp2]) {
      const answer = await bothAnswer(ask, { method, path });
      expect(answer.status).toBe(status);
    }
  });

  test.for([
    ["JSON", { "content-type": "application/json" }, 200],
    ["gRPC", grpc, 415],
    ["nothing that is known", { "content-type": "text/plain" }, 415],
  ] as const)("GET with the type of %s", async ([, headers, status]) => {
    const request = {
      method: "GET",
      path: `${pathOf("GetSummary")}?encoding=json&message=${message}`,
      headers,
    };
    for (const ask of [askHttp1, askHttp2]) {
      const answer = await bothAnswer(ask, request);
      expect(answer.status).toBe(status);
    }
  });

  test("gRPC over HTTP/1.1", async () => {
    const request = { path: pathOf("CreateEntry"), headers: grpc, body: [encodeEnvelope(0, small)] };
    const answer = await bothAnswer(askHttp1, request);
    expect(answer).toMatchObject({ status: 200, trailers: { "grpc-status": "0" } });
  });

  test("a query behind a call is part of its URL only", async () => {
    const request = { path: `${pathOf("CreateEntry")}?a=b`, headers: grpc, body: [encodeEnvelope(0, small)] };
    const { trailers } = await bothAnswer(askHttp2, request);
    expect(trailers).toMatchObject({ "grpc-status": "0" });
  });

  test.for([
    ["gRPC", { grpc: false }, grpc, encodeEnvelope(0, small)],
    ["gRPC-Web", { grpcWeb: false }, { "content-type": "application/grpc-web" }, encodeEnvelope(0, small)],
    ["Connect", { connect: false }, { "content-type": "application/json" }, json],
  ] as const)("%s, where it is switched off", async ([, switches, headers, body]) => {
    const request = { path: pathOf("CreateEntry"), headers, body: [body] };
    expect((await bothAnswer(askHttp2, request, switches)).status).toBe(415);
  });
});

test("a message that cannot be unpacked is told before whatever comes in later pieces", async () => {
  const headers = { ...grpc, "grpc-encoding": "gzip" };
  const bad = encodeEnvelope(1, small);
  for (const next of [
    Uint8Array.of(0, 255, 255, 255, 255),
    encodeEnvelope(0, half),
    encodeEnvelope(0, small),
  ]) {
    const request = { path: pathOf("CreateEntry"), headers, body: [bad, next] };
    const { trailers } = await bothAnswer(askHttp2, request);
    expect(trailers).toMatchObject({ "grpc-status": "3", "grpc-message": "decompression%20failed" });
  }
});

test.for([
  ["that cannot be parsed", grpc, encodeEnvelope(0, half)],
  ["that is compressed without a word", grpc, encodeEnvelope(1, gzipSync(small))],
  ["that cannot be unpacked", { ...grpc, "grpc-encoding": "gzip" }, encodeEnvelope(1, small)],
] as const)("a message %s is answered before the end of the body", async ([, headers, body]) => {
  const request = { path: pathOf("CreateEntry"), headers, body: [body], endless: true };
  const { trailers } = await bothAnswer(askHttp2, request);
  expect(trailers["grpc-status"]).toMatch(/^(13|3)$/);
});

test("a compressed end of stream over gRPC-Web is unpacked, and counts for nothing", async () => {
  const headers = { "content-type": "application/grpc-web", "grpc-encoding": "gzip" };
  for (const [data, status] of [
    [gzipSync(small), 12],
    [small, 3],
  ] as const) {
    const request = { path: pathOf("CreateEntry"), headers, body: [encodeEnvelope(0x81, data)] };
    const { body } = await bothAnswer(askHttp1, request);
    expect(body.toString("latin1")).toContain(`grpc-status: ${status}\r\n`);
  }
});

test("everything may be served under a prefix", async () => {
  const path = `/api${pathOf("CreateEntry")}`;
  const request = { path, headers: { "content-type": "application/json" }, body: [json] };
  for (const ask of [askHttp1, askHttp2]) {
    const answer = await bothAnswer(ask, request, { requestPathPrefix: "/api" });
    expect(answer.status).toBe(200);
  }
});

/** What connect-node answers, once it is seen that the other adapter answers the same. */
async function bothAnswer(
  ask: (url: string, request: PlainRequest) => Promise<PlainAnswer>,
  request: PlainRequest,
  others: Parameters<typeof serve>[2] = {},
): Promise<PlainAnswer> {
  const answers = Object.values(adapters).map(async (adapter) => {
    const url = await serve(adapter, methods, { ...options, ...others });
    return ask(url, request);
  });
  const [expected, answer] = await Promise.all(answers);
  if (expected === undefined) throw new Error("there is no adapter");
  expect(answer).toEqual(expected);
  return expected;
}

function messageFrom(userId: string): Uint8Array {
  return toBinary(CreateEntryRequestSchema, create(CreateEntryRequestSchema, { userId }));
}

function inBytes(body: Uint8Array): Uint8Array[] {
  return body.length > 100
    ? [body.subarray(0, 50), body.subarray(50)]
    : [...body].map((byte) => Uint8Array.of(byte));
}
