import { randomUUID } from "node:crypto";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";
import grpc from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { violatedFields } from "../support/failures.ts";
import { grpcJsFailure, learningLogClient } from "../support/grpc-js.ts";
import { useTestService } from "../support/test-service.ts";

// Calls with the gRPC library for Node.js, without Connect, as other teams make them.

const service = useTestService();

function newEntry() {
  return { requestId: randomUUID(), userId: randomUUID(), wordCount: 7 };
}

test("CreateEntry records an entry, and GetSummary counts it", async () => {
  const client = learningLogClient(service.url);
  const entry = newEntry();
  await expect(client.unary("createEntry", entry)).resolves.toMatchObject({ entry });
  const request = {
    userId: entry.userId,
    from: { seconds: 0 },
    to: { seconds: Math.floor(Date.now() / 1000) },
    granularity: "GRANULARITY_YEAR",
    omitEmptyPeriods: true,
  };
  await expect(client.unary("getSummary", request)).resolves.toMatchObject({
    periods: [{ totalWordCount: "7", entryCount: "1", averageWordsLearned: 7 }],
  });
});

test("CreateEntry fails with status 6 for a known request_id", async () => {
  const client = learningLogClient(service.url);
  const entry = newEntry();
  await client.unary("createEntry", entry);
  const { code } = await grpcJsFailure(client.unary("createEntry", entry));
  expect(code).toBe(6);
});

test("CreateEntry fails with status 3 for an invalid entry, and the details name the field", async () => {
  const client = learningLogClient(service.url);
  const { code, metadata } = await grpcJsFailure(
    client.unary("createEntry", { ...newEntry(), wordCount: -1 }),
  );
  expect(code).toBe(grpc.status.INVALID_ARGUMENT);
  const [details] = metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(details)) throw new Error("the error has no details");
  const trailer = new Headers({ "grpc-status": "3", "grpc-status-details-bin": details.toString("base64") });
  const error = findTrailerError(trailer);
  expect(error && violatedFields(error)).toEqual(["word_count"]);
});
