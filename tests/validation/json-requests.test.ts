import { randomUUID } from "node:crypto";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { describe, expect, test } from "vitest";
import { isTimestamp } from "../../src/validation/json-timestamp.ts";
import { askHttp1, askHttp2 } from "../support/plain-requests.ts";
import { useTestService } from "../support/test-service.ts";

// Requests that JSON can express and binary Protobuf cannot, over each protocol that accepts JSON.

const service = useTestService();
const log = "/dailyaggregator.v1.LearningLogService";
const time = "2024-02-29T12:00:00Z";
const missing = "2026-02-30T12:00:00Z";

const range = { userId: "mia", from: time, to: time };
const summary = { ...range, granularity: "GRANULARITY_DAY" };
const entry = (timestamp: unknown) => ({ requestId: randomUUID(), userId: "mia", wordCount: 1, timestamp });

/** Methods, requests with a time that does not exist, and the field of this time. */
const requests = [
  ["CreateEntry", entry(missing), "timestamp"],
  ["BatchCreateEntries", { entries: [entry(time), entry(missing)] }, "entries[1].timestamp"],
  ["ImportEntries", { entries: [entry(missing)] }, "entries[0].timestamp"],
  ["ListEntries", { ...range, from: missing }, "from"],
  ["ListEntries", { ...range, to: missing }, "to"],
  ["GetSummary", { ...summary, from: missing }, "from"],
  ["GetSummary", { ...summary, to: missing }, "to"],
  ["WatchSummary", { ...summary, to: missing }, "to"],
] as const;

describe.for(requests)("a time that does not exist, in %s: %j", ([method, request, field]) => {
  const path = `${log}/${method}`;
  const message = Buffer.from(JSON.stringify(request));
  const isStream = method === "WatchSummary" || method === "ImportEntries";
  const asks = method === "ImportEntries" ? [askHttp2] : [askHttp1, askHttp2];

  test.for(["application/grpc+json", "application/grpc-web+json"])("is rejected over %s", async (type) => {
    for (const ask of asks) {
      const body = [encodeEnvelope(0, message)];
      const answer = await ask(service.url, {
        path,
        headers: { "content-type": type, te: "trailers" },
        body,
      });
      const trailers = type.includes("web")
        ? Object.fromEntries(
            String(answer.body.subarray(5))
              .split("\r\n")
              .map((line) => line.split(": ")),
          )
        : answer.trailers;
      expect(decodeURIComponent(trailers["grpc-message"])).toContain(`${field}: must be a time that exists`);
      expect(trailers["grpc-status-details-bin"]).toBeDefined();
    }
  });

  test("is rejected over Connect", async () => {
    for (const ask of asks) {
      const headers = { "content-type": isStream ? "application/connect+json" : "application/json" };
      const body = [isStream ? encodeEnvelope(0, message) : message];
      const answer = await ask(service.url, { path, headers, body });
      expect(String(answer.body)).toContain('"invalid_argument"');
      expect(String(answer.body)).toContain(`"message":"${field}: must be a time that exists`);
      expect(String(answer.body)).toContain("buf.validate.Violations");
    }
  });

  test.runIf(method === "GetSummary" || method === "ListEntries")("is rejected in a URL", async () => {
    const query = new URLSearchParams({ connect: "v1", encoding: "json", message: String(message) });
    const answer = await askHttp1(service.url, { method: "GET", path: `${path}?${query}` });
    expect(answer.status).toBe(400);
    expect(String(answer.body)).toContain(`"message":"${field}: must be a time that exists`);
  });
});

test.for([
  ["2024-02-29T12:00:00Z", true],
  ["2000-02-29T23:59:59.999999999Z", true],
  ["2024-02-29T12:00:00+23:59", true],
  ["2024-02-29T12:00:00-00:00", true],
  ["0001-01-01T00:00:00Z", true],
  ["9999-12-31T23:59:59Z", true],
  ["2023-02-29T12:00:00Z", false],
  ["1900-02-29T12:00:00Z", false],
  ["2026-02-30T12:00:00Z", false],
  ["2026-06-31T12:00:00Z", false],
  ["2026-00-01T12:00:00Z", false],
  ["2026-13-01T12:00:00Z", false],
  ["2026-01-00T12:00:00Z", false],
  ["2026-01-32T12:00:00Z", false],
  ["2026-01-01T24:00:00Z", false],
  ["2026-01-01T23:60:00Z", false],
  ["2016-12-31T23:59:60Z", false],
  ["2024-02-29T12:00:00+24:00", false],
  ["2024-02-29T12:00:00+01:60", false],
  ["0000-01-01T00:00:00Z", false],
  ["0001-01-01T00:00:00+01:00", false],
  ["9999-12-31T23:59:59-01:00", false],
  ["2024-02-29t12:00:00z", false],
  ["2024-02-29T12:00:00", false],
  ["2024-02-29 12:00:00Z", false],
  ["2024-02-29", false],
  ["yesterday", false],
  ["", false],
  [1_709_208_000, false],
  [{ seconds: 1 }, false],
] as const)("JSON value %j is a valid Timestamp: %s", ([json, expected]) => {
  expect(isTimestamp(json)).toBe(expected);
});

test("the error for a value that is not a time names the field", async () => {
  const answer = await post("BatchCreateEntries", JSON.stringify({ entries: [entry(time), entry(17)] }));
  expect(answer).toMatchObject({
    status: 400,
    message: expect.stringMatching(/^entries\[1\]\.timestamp: must be a time/),
  });
});

test("the error for a value of the wrong type names the field", async () => {
  const answer = await post("CreateEntry", JSON.stringify({ ...entry(time), wordCount: "many" }));
  expect(answer).toMatchObject({
    status: 400,
    message: expect.stringContaining("CreateEntryRequest.word_count"),
  });
});

test("a request that is not valid UTF-8 is rejected, and not recorded with other letters", async () => {
  const text = JSON.stringify({ ...entry(time), userId: "Jürgen" });
  await expect(post("CreateEntry", Buffer.from(text, "latin1"))).resolves.toEqual({
    status: 400,
    code: "invalid_argument",
    message: "the request is not valid UTF-8",
  });
  await expect(post("CreateEntry", Buffer.from(text))).resolves.toMatchObject({ status: 200 });
});

test("a null timestamp, a missing timestamp and unknown fields are accepted", async () => {
  for (const fields of [
    { timestamp: null },
    { timestamp: undefined },
    { timezone: "UTC", nested: { a: [1] } },
  ]) {
    const answer = await post("CreateEntry", JSON.stringify({ ...entry(time), ...fields }));
    expect(answer.status).toBe(200);
  }
});

async function post(method: string, body: string | Buffer): Promise<{ status: number }> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${service.url}${log}/${method}`, { method: "POST", headers, body });
  const answer = (await response.json()) as object;
  return { status: response.status, ...answer };
}
