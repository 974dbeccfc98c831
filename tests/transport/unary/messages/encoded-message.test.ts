import { create, isFieldSet, isMessage, toBinary, toJson } from "@bufbuild/protobuf";
import { createClient, type Interceptor } from "@connectrpc/connect";
import { type Compression, encodeEnvelope } from "@connectrpc/connect/protocol";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { CreateEntryResponseSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { type GetSummaryResponse, GetSummaryResponseSchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { EncodedMessage } from "../../../../src/transport/unary/messages/encoded-message.ts";
import { unaryNodeAdapter } from "../../../../src/transport/unary/unary-node-adapter.ts";
import { adapters } from "../../../support/adapters.ts";
import { askHttp1, askHttp2, type PlainRequest } from "../../../support/plain-requests.ts";
import { type Methods, pathOf, serve } from "../adapters.ts";

const response = create(CreateEntryResponseSchema, {
  entry: { requestId: "id", userId: "mia", wordCount: 7, timestamp: { seconds: 1n } },
  alreadyExisted: true,
});
const bytes = toBinary(CreateEntryResponseSchema, response);
const encoded = new EncodedMessage(CreateEntryResponseSchema, bytes);
const createEntry = () => encoded.toMessage();

describe.for(Object.entries(adapters))(
  "an encoded message that a handler returns with the adapter %s",
  ([, adapter]) => {
    test.for([
      ["gRPC", createGrpcTransport, true],
      ["gRPC", createGrpcTransport, false],
      ["gRPC-Web", createGrpcWebTransport, true],
      ["gRPC-Web", createGrpcWebTransport, false],
      ["Connect", createConnectTransport, true],
      ["Connect", createConnectTransport, false],
    ] as const)("is decoded by a client over %s (%#)", async ([, createTransport, useBinaryFormat]) => {
      const baseUrl = await serve(adapter, { createEntry });
      for (const acceptCompression of [[], [compressionGzip]]) {
        const options = { baseUrl, useBinaryFormat, httpVersion: "2", acceptCompression } as const;
        const client = createClient(LearningLogService, createTransport(options));
        // The second answer is created from the same bytes.
        for (let call = 0; call < 2; call += 1) expect(await client.createEntry({})).toEqual(response);
      }
    });
  },
);

describe("an encoded message", () => {
  test("has the fields of the message, and no others", () => {
    const message = createEntry();
    expect(toJson(CreateEntryResponseSchema, message)).toEqual(toJson(CreateEntryResponseSchema, response));
    expect({ ...message }).toEqual({ ...response });
    const empty = new EncodedMessage(CreateEntryResponseSchema, new Uint8Array()).toMessage();
    expect(isFieldSet(empty, CreateEntryResponseSchema.field.entry)).toBe(false);
  });

  test("is sent unchanged if it does not exceed the limit", async () => {
    // The same message with its fields in reverse order, as no encoder writes it.
    const reversed = new Uint8Array([...bytes.subarray(-2), ...bytes.subarray(0, -2)]);
    const methods = {
      createEntry: () => new EncodedMessage(CreateEntryResponseSchema, reversed).toMessage(),
    };
    const post = async (writeMaxBytes: number) => {
      const url = await serve(unaryNodeAdapter, methods, { writeMaxBytes });
      const headers = { "content-type": "application/proto" };
      return fetch(`${url}${pathOf("CreateEntry")}`, { method: "POST", headers });
    };
    expect(new Uint8Array(await (await post(1000)).arrayBuffer())).toEqual(reversed);
    expect(await (await post(10)).json()).toMatchObject({ code: "resource_exhausted" });
  });
});

/** Long enough to be compressed. */
const summary = create(GetSummaryResponseSchema, {
  periods: Array.from({ length: 100 }, (_, day) => ({
    period: { seconds: BigInt(day * 86_400) },
    averageWordsLearned: day / 7,
    totalWordCount: BigInt(day),
    entryCount: 7n,
  })),
});
const shortSummary = create(GetSummaryResponseSchema, { nextPageToken: "next" });

const encode = (message: GetSummaryResponse) =>
  new EncodedMessage(GetSummaryResponseSchema, toBinary(GetSummaryResponseSchema, message));
const answerWith = (encodedSummary: ReturnType<typeof encode>): Methods => ({
  getSummary: () => encodedSummary.toMessage(),
});

type Format = "proto" | "json";
const path = pathOf("GetSummary");
const emptyMessage = (format: Format) => Buffer.from(format === "json" ? "{}" : "");

function connectPost(format: Format, compression: string): PlainRequest {
  const headers = { "content-type": `application/${format}`, "accept-encoding": compression };
  return { path, headers, body: [emptyMessage(format)] };
}

function connectGet(format: Format, compression: string): PlainRequest {
  const query = `connect=v1&encoding=${format}&message=${emptyMessage(format)}`;
  return { method: "GET", path: `${path}?${query}`, headers: { "accept-encoding": compression } };
}

function enveloped(type: string, format: Format, compression: string): PlainRequest {
  const headers = { "content-type": `application/${type}+${format}`, "grpc-accept-encoding": compression };
  return { path, headers, body: [encodeEnvelope(0, emptyMessage(format))] };
}

const grpc = (format: Format, compression: string) => enveloped("grpc", format, compression);
const grpcWeb = (format: Format, compression: string) => enveloped("grpc-web", format, compression);

describe.for(Object.entries(adapters))("with the adapter %s", ([, adapter]) => {
  test.for([
    ["Connect, POST over HTTP/1.1", connectPost, askHttp1],
    ["Connect, POST over HTTP/2", connectPost, askHttp2],
    ["Connect, GET over HTTP/1.1", connectGet, askHttp1],
    ["Connect, GET over HTTP/2", connectGet, askHttp2],
    ["gRPC", grpc, askHttp2],
    ["gRPC-Web over HTTP/1.1", grpcWeb, askHttp1],
    ["gRPC-Web over HTTP/2", grpcWeb, askHttp2],
  ] as const)("an encoded message is sent like any other over %s", async ([, requestFor, ask]) => {
    for (const message of [summary, shortSummary]) {
      const expectedUrl = await serve(adapter, { getSummary: () => message });
      const url = await serve(adapter, answerWith(encode(message)));
      for (const format of ["proto", "json"] as const) {
        for (const compression of ["identity", "gzip", "br", "gzip", "identity"]) {
          const request = requestFor(format, compression);
          const expected = await ask(expectedUrl, request);
          expect(expected.status).toBe(200);
          expect(await ask(url, request)).toEqual(expected);
        }
      }
    }
  });
});

describe("each form of an encoded message", () => {
  test("is made once, when it is first requested, and counts as part of the size", async () => {
    const encodedSummary = encode(summary);
    let growths = 0;
    encodedSummary.onGrowth = () => {
      growths += 1;
    };
    const url = await serve(unaryNodeAdapter, answerWith(encodedSummary));
    const askThreeTimes = (request: PlainRequest) => Promise.all([1, 2, 3].map(() => askHttp2(url, request)));

    await askThreeTimes(connectPost("proto", "identity"));
    await askThreeTimes(grpc("proto", "identity"));
    expect(growths).toBe(0);

    for (const [format, compression] of [
      ["proto", "gzip"],
      ["json", "gzip"],
      ["json", "identity"],
      ["json", "br"],
    ] as const) {
      growths = 0;
      const before = encodedSummary.size;
      const [answer] = await askThreeTimes(connectPost(format, compression));
      // gRPC sends the same bytes, in an envelope.
      await askThreeTimes(grpc(format, compression));
      expect(growths).toBe(1);
      expect(encodedSummary.size).toBeGreaterThan(before + Number(answer?.body.byteLength));
    }
  });

  test("is made again if the first attempt failed", async () => {
    let attempts = 0;
    const failingFirst: Compression = {
      ...compressionGzip,
      async compress(uncompressed) {
        attempts += 1;
        if (attempts === 1) throw new Error("out of memory");
        return compressionGzip.compress(uncompressed);
      },
    };
    const options = { acceptCompression: [failingFirst] };
    const url = await serve(unaryNodeAdapter, answerWith(encode(summary)), options);
    const statuses: (number | undefined)[] = [];
    for (let call = 0; call < 3; call += 1) {
      statuses.push((await askHttp2(url, connectPost("json", "gzip"))).status);
    }
    expect({ statuses, attempts }).toEqual({ statuses: [500, 200, 200], attempts: 2 });
  });

  test("has the JSON options of the method that sends it", async () => {
    const methods = answerWith(encode(shortSummary));
    const shortUrl = await serve(unaryNodeAdapter, methods);
    const longUrl = await serve(unaryNodeAdapter, methods, { jsonOptions: { alwaysEmitImplicit: true } });
    const ask = async (url: string) => String((await askHttp2(url, connectPost("json", "identity"))).body);
    for (let call = 0; call < 2; call += 1) {
      expect(await ask(shortUrl)).toBe('{"nextPageToken":"next"}');
      expect(await ask(longUrl)).toBe('{"periods":[],"nextPageToken":"next"}');
    }
  });

  test("does not contain what an interceptor changed in the message of one call", async () => {
    const interceptor: Interceptor = (next) => async (request) => {
      const response = await next(request);
      if (!response.stream && isMessage(response.message, GetSummaryResponseSchema)) {
        response.message.periods.length = 1;
      }
      return response;
    };
    const options = { interceptors: [interceptor] };
    const url = await serve(unaryNodeAdapter, answerWith(encode(summary)), options);
    const { body } = await askHttp2(url, connectPost("json", "identity"));
    expect(JSON.parse(String(body))).toEqual(toJson(GetSummaryResponseSchema, summary));
  });
});
