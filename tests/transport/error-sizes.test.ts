import { randomUUID } from "node:crypto";
import { create, toBinary, toJson } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { describe, expect, test } from "vitest";
import { BatchCreateEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { Health } from "#gen/health/v1/health_pb.js";
import { transports } from "../support/clients.ts";
import { failureOf, violatedFields } from "../support/failures.ts";
import { askHttp1, askHttp2, type PlainAnswer } from "../support/plain-requests.ts";
import { useTestService } from "../support/test-service.ts";

// gRPC sends errors in headers, and many clients accept at most 8 KiB of headers. A larger error would abort the call
// or the whole connection.

const service = useTestService();
const maxHeaderBytes = 8 * 1024;

const invalid = Array.from({ length: 1000 }, () => ({ requestId: "none", userId: "", wordCount: -1 }));

describe.for(Object.entries(transports))("over %s", ([name, createTransport]) => {
  test("the error for 1000 invalid entries has the first violations and the number of the others", async () => {
    const client = createClient(LearningLogService, createTransport(service.url));
    expectFirst(await failureOf(client.batchCreateEntries({ entries: invalid })));
    // An import is a bidirectional stream, which needs HTTP/2.
    if (!name.includes("HTTP/1.1")) {
      const batches = (async function* () {
        yield { entries: invalid };
      })();
      expectFirst(await failureOf(firstOf(client.importEntries(batches))));
    }
    // The connection still accepts calls.
    await client.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 1 });
  });

  test("the error of a health check truncates a long name of an unknown service", async () => {
    const health = createClient(Health, createTransport(service.url));
    const error = await failureOf(health.check({ service: "x".repeat(70_000) }));
    expect(error.code).toBe(Code.NotFound);
    expect(error.rawMessage.length).toBeLessThan(200);
    await health.check({ service: "" });
  });
});

test("the error of reflection truncates a long unknown name", async () => {
  const client = createClient(ServerReflection, createGrpcTransport({ baseUrl: service.url }));
  const value = "x".repeat(70_000);
  const questions = (async function* () {
    yield { messageRequest: { case: "fileContainingSymbol" as const, value } };
  })();
  const answer = await firstOf(client.serverReflectionInfo(questions));
  expect(answer?.messageResponse).toMatchObject({
    value: { errorMessage: expect.stringMatching(/^not found: x{100}…$/) },
  });
});

describe("the headers of an error over gRPC stay below 8 KiB", () => {
  const createEntry = "/dailyaggregator.v1.LearningLogService/CreateEntry";
  const importEntries = "/dailyaggregator.v1.LearningLogService/ImportEntries";
  const batch = create(BatchCreateEntriesRequestSchema, { entries: invalid });
  const long = "ä".repeat(50_000);
  const proto = "application/grpc+proto";
  const json = "application/grpc+json";
  test.for([
    [
      "an invalid batch",
      "/dailyaggregator.v1.LearningLogService/BatchCreateEntries",
      proto,
      {},
      toBinary(BatchCreateEntriesRequestSchema, batch),
    ],
    [
      "an invalid batch in an import",
      importEntries,
      proto,
      {},
      toBinary(BatchCreateEntriesRequestSchema, batch),
    ],
    [
      "an invalid batch in JSON",
      "/dailyaggregator.v1.LearningLogService/BatchCreateEntries",
      json,
      {},
      text(toJson(BatchCreateEntriesRequestSchema, batch)),
    ],
    ["an unknown service", "/grpc.health.v1.Health/Check", json, {}, text({ service: long })],
    ["a lone surrogate", "/grpc.health.v1.Health/Check", json, {}, Buffer.from('{"service":"\\ud800"}')],
    ["a value of the wrong type", createEntry, json, {}, text({ wordCount: long })],
    [
      "a value of the wrong type in an import",
      importEntries,
      json,
      {},
      text({ entries: [{ wordCount: long }] }),
    ],
    ["text that is not JSON", createEntry, json, {}, Buffer.from(long)],
    ["an unknown encoding", createEntry, proto, { "grpc-encoding": "%".repeat(7_000) }, Buffer.alloc(0)],
    [
      "an unknown encoding in an import",
      importEntries,
      proto,
      { "grpc-encoding": "%".repeat(7_000) },
      Buffer.alloc(0),
    ],
    ["an invalid deadline", createEntry, proto, { "grpc-timeout": "%".repeat(7_000) }, Buffer.alloc(0)],
  ] as const)("for %s", async ([, path, type, headers, message]) => {
    const request = {
      path,
      headers: { "content-type": type, te: "trailers", ...headers },
      body: [encodeEnvelope(0, message)],
    };
    for (const ask of path === importEntries ? [askHttp2] : [askHttp1, askHttp2]) {
      const answer = await ask(service.url, request);
      expect(Number(answer.trailers["grpc-status"])).toBeGreaterThan(0);
      expect(headerBytes(answer)).toBeLessThan(maxHeaderBytes);
    }
  });
});

function expectFirst(error: Awaited<ReturnType<typeof failureOf>>): void {
  expect(error.code).toBe(Code.InvalidArgument);
  expect(error.rawMessage).toMatch(
    /^entries\[0\].*, and 2999 more violations; the details have the first \d+$/,
  );
  const fields = violatedFields(error);
  expect(fields.slice(0, 4)).toEqual([
    "entries[0].request_id",
    "entries[0].user_id",
    "entries[0].word_count",
    "entries[1].request_id",
  ]);
  expect(fields.length).toBeGreaterThan(10);
}

/** Returns the size of all headers and trailers, as defined in RFC 9113, section 6.5.2. */
function headerBytes({ headers, trailers }: PlainAnswer): number {
  return [...Object.entries(headers), ...Object.entries(trailers)].reduce(
    (sum, [name, value]) => sum + 32 + name.length + String(value).length,
    0,
  );
}

function text(json: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(json));
}

async function firstOf<Message>(stream: AsyncIterable<Message>): Promise<Message | undefined> {
  for await (const message of stream) return message;
  return undefined;
}
