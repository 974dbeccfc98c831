import { type ClientHttp2Stream, constants } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { describe, expect, test } from "vitest";
import {
  CreateEntryRequestSchema,
  DuplicateEntrySchema,
  ImportEntriesRequestSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import { adapters } from "../../support/adapters.ts";
import { askHttp2 } from "../../support/plain-requests.ts";
import { type Methods, pathOf, serve } from "./adapters.ts";
import { closing, connectTo, startCall, statusOf, withUserId } from "./http2-calls.ts";

// Bodies of the calls that connect-node serves: streams, with both adapters, and unary calls.

const methods: Methods = {
  createEntry: () => ({}),
  async *importEntries(requests) {
    for await (const { entries } of requests) yield { createdCount: entries.length };
  },
};

const types = ["application/grpc", "application/grpc-web", "application/connect+proto"];

describe.for(Object.entries(adapters))("a stream that the adapter %s serves", ([, adapter]) => {
  test("reads a message in frames of one byte in linear time", {
    timeout: 120_000,
  }, async () => {
    const url = await serve(adapter, methods);
    const stream = startCall(connectTo(url), "ImportEntries", "application/grpc");
    const status = statusOf(stream);
    const before = process.cpuUsage();
    for (const byte of envelopeOf(100_000)) {
      await new Promise((written) => stream.write(Buffer.of(byte), written));
    }
    stream.end();
    await expect(status).resolves.toBe("0");
    // CPU time of the client and the server: one or two seconds, or about fifteen if the server iterates over all
    // received bytes for each new one.
    expect(process.cpuUsage(before).user / 1e6).toBeLessThan(8);
  });

  test.for(types)(
    "of type %s is rejected if the messages of its connection would hold more than 128 MiB",
    async (type) => {
      const url = await serve(adapter, methods);
      const session = connectTo(url);
      const large = envelopeOf(48 * 1024 * 1024);
      const unfinished = Array.from({ length: 3 }, () => {
        const stream = startCall(session, "ImportEntries", type);
        stream.write(large.subarray(0, -1));
        return stream;
      });
      const refusal = await Promise.race(unfinished.map(bodyOrStatus));
      expect(refusal).toMatch(/^8$|grpc-status: 8|resource_exhausted/);

      // Messages on other connections, and small ones on this connection, are accepted.
      const small = { headers: { "content-type": "application/grpc", te: "trailers" } };
      const body = [envelopeOf(1)];
      const { trailers } = await askHttp2(url, { ...small, path: pathOf("ImportEntries"), body });
      expect(trailers).toMatchObject({ "grpc-status": "0" });
      const next = startCall(session, "ImportEntries", "application/grpc");
      next.end(body[0]);
      await expect(statusOf(next)).resolves.toBe("0");

      // The memory of cancelled streams is available again.
      for (const stream of unfinished) stream.close(constants.NGHTTP2_CANCEL);
      const last = startCall(session, "ImportEntries", "application/grpc");
      last.end(large);
      await expect(statusOf(last)).resolves.toBe("0");
    },
  );

  test("is reset if the unread answers of its connection would hold more than 128 MiB", async () => {
    const ended = Promise.withResolvers<void>();
    const requestId = "x".repeat(48 * 1024 * 1024);
    const url = await serve(adapter, {
      async *importEntries() {
        try {
          yield { duplicates: [create(DuplicateEntrySchema, { conflict: { requestId } })] };
          yield { createdCount: 1 };
        } finally {
          ended.resolve();
        }
      },
    });
    const session = connectTo(url);
    const unread = Array.from({ length: 3 }, () => {
      return startCall(session, "ImportEntries", "application/grpc").end(envelopeOf(1));
    });
    const refused = await Promise.race(unread.map(closing));
    expect(refused.rstCode).toBe(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    await ended.promise;
  });

  test("accepts any number of messages, one after another", { timeout: 120_000 }, async () => {
    const url = await serve(adapter, methods);
    const stream = startCall(connectTo(url), "ImportEntries", "application/grpc");
    const status = statusOf(stream);
    const large = envelopeOf(8 * 1024 * 1024);
    for (let times = 0; times < 10; times += 1) await new Promise((written) => stream.write(large, written));
    stream.end();
    await expect(status).resolves.toBe("0");
  });

  test("accepts messages however their bytes are split", async () => {
    const url = await serve(adapter, methods);
    const messages = Buffer.concat([3, 20_000, 1, 40_000, 70].map(envelopeOf));
    for (const size of [7, 16_384, messages.length]) {
      const body = Array.from({ length: Math.ceil(messages.length / size) }, (_, index) =>
        messages.subarray(index * size, (index + 1) * size),
      );
      const request = {
        path: pathOf("ImportEntries"),
        headers: { "content-type": "application/grpc" },
        body,
      };
      const { trailers, body: answers } = await askHttp2(url, request);
      expect(trailers).toMatchObject({ "grpc-status": "0" });
      // Each answer is an envelope with one count.
      expect(answers).toHaveLength(5 * (5 + 2));
    }
  });
});

test("the unary calls of a connection that connect-node serves hold at most 128 MiB, too", async () => {
  const url = await serve(adapters["connect-node"], methods);
  const session = connectTo(url);
  const large = toBinary(CreateEntryRequestSchema, withUserId(48 * 1024 * 1024));
  const unfinished = Array.from({ length: 3 }, () => {
    const stream = startCall(session, "CreateEntry", "application/proto");
    stream.write(large);
    return stream;
  });
  await expect(Promise.race(unfinished.map(bodyOrStatus))).resolves.toContain("resource_exhausted");
});

/** Returns the status in the trailers of gRPC. Other protocols have it in the body, whose first part is returned. */
function bodyOrStatus(stream: ClientHttp2Stream): Promise<unknown> {
  return new Promise((resolve) => {
    stream.once("trailers", (trailers) => resolve(trailers["grpc-status"]));
    stream.on("data", (chunk: Buffer) => resolve(chunk.toString()));
  });
}

function envelopeOf(length: number): Uint8Array {
  return encodeEnvelope(
    0,
    toBinary(
      ImportEntriesRequestSchema,
      create(ImportEntriesRequestSchema, { entries: [withUserId(length)] }),
    ),
  );
}
