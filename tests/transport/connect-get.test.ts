import { randomUUID } from "node:crypto";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { startOwnService, useTestService } from "../support/test-service.ts";

// The headers of answers to GET over Connect that concern the caches of browsers and proxies.

const service = useTestService();
const page = "https://app.example.com";
const year = { from: "2024-01-01T00:00:00Z", to: "2024-12-31T00:00:00Z", granularity: "GRANULARITY_DAY" };

test("only the learner's browser may store an answer, and it must revalidate it before each use", async () => {
  const userId = randomUUID();
  const before = await get(service.url, { ...year, userId });
  expect(before.status).toBe(200);
  expect(before.headers.get("cache-control")).toBe("private, no-cache");

  const entry = { requestId: randomUUID(), userId, wordCount: 7, timestamp: "2024-02-29T12:00:00Z" };
  await createClient(
    LearningLogService,
    createConnectTransport({ baseUrl: service.url, httpVersion: "2" }),
  ).createEntry({ ...entry, timestamp: { seconds: BigInt(Date.parse(entry.timestamp)) / 1000n } });
  const after = await get(service.url, { ...year, userId });
  expect(JSON.stringify(await after.json())).toContain('"totalWordCount":"7"');
  expect(JSON.stringify(await before.json())).not.toContain("totalWordCount");
});

test("an answer is compressed as Accept-Encoding allows, and has Accept-Encoding in Vary", async () => {
  const asked = { ...year, userId: randomUUID() };
  const compressed = await get(service.url, asked, { "accept-encoding": "gzip" });
  const plain = await get(service.url, asked, { "accept-encoding": "identity" });
  expect(compressed.headers.get("content-encoding")).toBe("gzip");
  expect(plain.headers.get("content-encoding")).toBeNull();
  for (const answer of [compressed, plain]) expect(varyOf(answer.headers)).toContain("accept-encoding");
  expect(await compressed.json()).toEqual(await plain.json());
});

test("an answer that depends on the origin of the page has both Accept-Encoding and Origin in Vary", async () => {
  const { url } = await startOwnService(service.database.url, {
    corsOrigins: [page, "http://localhost:5173"],
  });
  const answer = await get(url, { ...year, userId: randomUUID() }, { origin: page });
  expect(answer.headers.get("access-control-allow-origin")).toBe(page);
  expect(varyOf(answer.headers)).toEqual(expect.arrayContaining(["accept-encoding", "origin"]));
});

test("a browser must revalidate an error before each use, too", async () => {
  const answer = await get(service.url, { userId: "" });
  expect(answer.status).toBe(400);
  expect(answer.headers.get("cache-control")).toBe("private, no-cache");
});

test.for(["1.1", "2"] as const)("Connect's client gets cache headers over HTTP/%s", async (httpVersion) => {
  const transport = createConnectTransport({ baseUrl: service.url, httpVersion, useHttpGet: true });
  let headers = new Headers();
  const request = {
    userId: randomUUID(),
    from: { seconds: 1_700_000_000n },
    to: { seconds: 1_700_000_000n },
    granularity: Granularity.DAY,
  };
  await createClient(LearningLogService, transport).getSummary(request, {
    onHeader: (received) => {
      headers = received;
    },
  });
  expect(headers.get("cache-control")).toBe("private, no-cache");
  expect(varyOf(headers)).toContain("accept-encoding");
});

function get(url: string, message: object, headers: Record<string, string> = {}): Promise<Response> {
  const query = new URLSearchParams({ connect: "v1", encoding: "json", message: JSON.stringify(message) });
  return fetch(`${url}/${LearningLogService.typeName}/GetSummary?${query}`, { headers });
}

function varyOf(headers: Headers): string[] {
  return (headers.get("vary") ?? "").toLowerCase().split(/, */);
}
