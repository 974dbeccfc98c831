import { create, isFieldSet, toBinary, toJson } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import {
  compressionGzip,
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { CreateEntryResponseSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { EncodedMessage } from "../../../../src/transport/unary/messages/encoded-message.ts";
import { unaryNodeAdapter } from "../../../../src/transport/unary/unary-node-adapter.ts";
import { adapters } from "../../../support/adapters.ts";
import { pathOf, serve } from "../adapters.ts";

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
