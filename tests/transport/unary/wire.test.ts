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

// Requests that are sent without an RPC library: both adapters answer with the same status, headers, trailers and body.

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
  "a message that makes the handler set headers and trailers": [0, encodeEnvelope(0, messageFrom("tell"))],
  "an empty body": [12, new Uint8Array()],
  "two messages": [12, encodeEnvelopes({ flags: 0, data: small }, { flags: 0, data: long })],
  "two messages, the second one invalid": [
    3,
    encodeEnvelopes({ flags: 0, data: small }, { flags: 0, data: half }),
  ],
  "an incomplete prefix": [3, Uint8Array.of(0, 0)],
  "an incomplete message": [3, encodeEnvelope(0, small).subarray(0, -1)],
  "a message and an incomplete prefix": [3, Buffer.concat([encodeEnvelope(0, small), Uint8Array.of(0, 0)])],
  "a message that cannot be parsed": [3, encodeEnvelope(0, half)],
  "a message over the limit": [8, encodeEnvelope(0, messageFrom("x".repeat(10_001)))],
  "a prefix with a length over the limit": [8, Uint8Array.of(0, 255, 255, 255, 255)],
  "a compressed message without grpc-encoding": [13, encodeEnvelope(1, gzipSync(small))],
  "an unknown flag": [0, encodeEnvelope(2, small)],
};

describe("both adapters give the same answer over gRPC", () => {
  test.for(Object.entries(grpcBodies))("to %s, whole and in pieces", async ([, [status, body]]) => {
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

test("an invalid message takes precedence over an error in a later chunk, not over one in its own chunk", async () => {
  const body = Buffer.concat([encodeEnvelope(0, half), Uint8Array.of(0, 255, 255, 255, 255)]);
  const path = pathOf("CreateEntry");
  const whole = await bothAnswer(askHttp2, { path, headers: grpc, body: [body] });
  expect(whole.trailers["grpc-status"]).toBe("8");
  const pieces = await bothAnswer(askHttp2, { path, headers: grpc, body: inBytes(body) });
  expect(pieces.trailers["grpc-status"]).toBe("3");
});

describe("both adapters give the same answer over gRPC-Web", () => {
  const bodies = {
    ...grpcBodies,
    "trailers without a message": [12, encodeEnvelope(0x80, small)],
    "trailers before a message": [0, encodeEnvelopes({ flags: 0x80, data: long }, { flags: 0, data: small })],
  } as const;
  test.for(Object.entries(bodies))("to %s", async ([, [status, body]]) => {
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

describe("both adapters give the same answer to the headers of a request", () => {
  const framed = encodeEnvelope(0, small);
  const compressed = encodeEnvelope(1, gzipSync(small));
  test.for([
    ["a content type in mixed case", { "content-type": "Application/GRPC+Proto" }, framed, 0],
    [
      "JSON with a charset",
      { "content-type": "application/grpc+json; charset=utf-8" },
      encodeEnvelope(0, json),
      0,
    ],
    ["a deadline", { "grpc-timeout": "10S" }, framed, 0],
    ["a deadline without a unit", { "grpc-timeout": "10" }, framed, 3],
    ["a deadline with too many digits", { "grpc-timeout": "123456789n" }, framed, 3],
    ["a deadline over the limit", { "grpc-timeout": "2M" }, framed, 3],
    ["gzip", { "grpc-encoding": "gzip" }, compressed, 0],
    [
      "gzip accepted for an answer that is too short for it",
      { "grpc-accept-encoding": "identity, gzip" },
      framed,
      0,
    ],
    ["brotli before gzip", { "grpc-accept-encoding": "br,gzip" }, encodeEnvelope(0, long), 0],
    ["identity", { "grpc-encoding": "identity" }, framed, 0],
    ["an unknown encoding", { "grpc-encoding": "zip" }, framed, 12],
    [
      "an unknown encoding and an invalid deadline",
      { "grpc-encoding": "zip", "grpc-timeout": "1" },
      framed,
      12,
    ],
    ["invalid gzip", { "grpc-encoding": "gzip" }, encodeEnvelope(1, small), 3],
    [
      "gzip that exceeds the limit when decompressed",
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
    [
      "an empty body of Protobuf, which is an empty message",
      { "content-type": "application/proto" },
      new Uint8Array(),
      200,
    ],
    [
      "an empty body of JSON, which is invalid",
      { "content-type": "application/json" },
      new Uint8Array(),
      400,
    ],
    [
      "a message that makes the handler fail",
      { "content-type": "application/proto" },
      messageFrom("fail"),
      404,
    ],
    [
      "a message that makes the handler set headers and trailers",
      { "content-type": "application/proto" },
      messageFrom("tell"),
      200,
    ],
    ["a deadline", { "content-type": "application/json", "connect-timeout-ms": "10000" }, json, 200],
    ["an invalid deadline", { "content-type": "application/json", "connect-timeout-ms": "-1" }, json, 400],
    [
      "a deadline over the limit",
      { "content-type": "application/json", "connect-timeout-ms": "60001" },
      json,
      400,
    ],
    ["an incomplete message", { "content-type": "application/proto" }, half, 400],
    [
      "a message over the limit",
      { "content-type": "application/proto" },
      messageFrom("x".repeat(10_001)),
      429,
    ],
    ["gzip", { "content-type": "application/proto", "content-encoding": "gzip" }, gzipSync(small), 200],
    ["an unknown encoding", { "content-type": "application/proto", "content-encoding": "zip" }, small, 501],
    ["invalid gzip", { "content-type": "application/proto", "content-encoding": "gzip" }, small, 400],
    [
      "gzip accepted for a long answer",
      { "content-type": "application/proto", "accept-encoding": "deflate, gzip" },
      long,
      200,
    ],
    [
      "gzip accepted for an answer that is too short for it",
      { "content-type": "application/proto", "accept-encoding": "gzip" },
      small,
      200,
    ],
    ["the content type of a stream", { "content-type": "application/connect+proto" }, small, 415],
    ["the content type of gRPC-Web with text", { "content-type": "application/grpc-web-text" }, small, 415],
    ["an unknown content type", { "content-type": "text/plain" }, small, 415],
    ["no content type", {}, small, 415],
  ] as const)("over Connect: %s", async ([, headers, body, status]) => {
    for (const ask of [askHttp1, askHttp2]) {
      const answer = await bothAnswer(ask, { path: pathOf("CreateEntry"), headers, body: [body] });
      expect(answer.status).toBe(status);
    }
  });

  test.for([
    ["no version", {}, 400],
    ["another version", { "connect-protocol-version": "2" }, 400],
    ["the known version", { "connect-protocol-version": "1" }, 200],
  ] as const)("over Connect, if the version is required: %s", async ([, headers, status]) => {
    const request = {
      path: pathOf("CreateEntry"),
      headers: { "content-type": "application/json", ...headers },
      body: [json],
    };
    const answer = await bothAnswer(askHttp1, request, { requireConnectProtocolHeader: true });
    expect(answer.status).toBe(status);
  });
});

describe("both adapters give the same answer to a repeated header", () => {
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

describe("both adapters give the same answer to other paths, HTTP methods and protocols", () => {
  const message = encodeURIComponent('{"userId":"mia"}');
  const base64 = Buffer.from(
    toBinary(GetSummaryRequestSchema, create(GetSummaryRequestSchema, { userId: "mia" })),
  );
  test.for([
    ["an unknown path", "POST", "/nowhere", 404],
    ["an unknown method", "POST", `${pathOf("CreateEntry")}s`, 404],
    ["PUT", "PUT", pathOf("CreateEntry"), 405],
    [
      "GET of a method with side effects",
      "GET",
      `${pathOf("CreateEntry")}?encoding=json&message=${message}`,
      405,
    ],
    [
      "GET of a method without side effects",
      "GET",
      `${pathOf("GetSummary")}?encoding=json&message=${message}`,
      200,
    ],
    [
      "GET with a message in base64",
      "GET",
      `${pathOf("GetSummary")}?encoding=proto&base64=1&message=${base64.toString("base64url")}`,
      200,
    ],
    ["GET with an invalid message", "GET", `${pathOf("GetSummary")}?encoding=json&message=x`, 400],
    ["GET with invalid base64", "GET", `${pathOf("GetSummary")}?encoding=proto&base64=1&message=*`, 400],
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
    ["no known protocol", { "content-type": "text/plain" }, 415],
  ] as const)("GET with the content type of %s", async ([, headers, status]) => {
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

  test("a POST with a query, which does not affect the call", async () => {
    const request = { path: `${pathOf("CreateEntry")}?a=b`, headers: grpc, body: [encodeEnvelope(0, small)] };
    const { trailers } = await bothAnswer(askHttp2, request);
    expect(trailers).toMatchObject({ "grpc-status": "0" });
  });

  test.for([
    ["gRPC", { grpc: false }, grpc, encodeEnvelope(0, small)],
    ["gRPC-Web", { grpcWeb: false }, { "content-type": "application/grpc-web" }, encodeEnvelope(0, small)],
    ["Connect", { connect: false }, { "content-type": "application/json" }, json],
  ] as const)("%s, if it is disabled", async ([, switches, headers, body]) => {
    const request = { path: pathOf("CreateEntry"), headers, body: [body] };
    expect((await bothAnswer(askHttp2, request, switches)).status).toBe(415);
  });
});

test("a decompression error takes precedence over everything in later chunks", async () => {
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
  ["that is compressed without grpc-encoding", grpc, encodeEnvelope(1, gzipSync(small))],
  ["that cannot be decompressed", { ...grpc, "grpc-encoding": "gzip" }, encodeEnvelope(1, small)],
] as const)("a message %s is rejected before the end of the body", async ([, headers, body]) => {
  const request = { path: pathOf("CreateEntry"), headers, body: [body], endless: true };
  const { trailers } = await bothAnswer(askHttp2, request);
  expect(trailers["grpc-status"]).toMatch(/^(13|3)$/);
});

test("compressed trailers over gRPC-Web are decompressed, and do not count as a message", async () => {
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

test("both adapters can serve calls under a path prefix", async () => {
  const path = `/api${pathOf("CreateEntry")}`;
  const request = { path, headers: { "content-type": "application/json" }, body: [json] };
  for (const ask of [askHttp1, askHttp2]) {
    const answer = await bothAnswer(ask, request, { requestPathPrefix: "/api" });
    expect(answer.status).toBe(200);
  }
});

/** Sends a request to both adapters, and expects the same answer. @returns the answer */
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
