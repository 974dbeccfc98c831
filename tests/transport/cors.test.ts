import { randomUUID } from "node:crypto";
import http2 from "node:http2";
import { expect, onTestFinished, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

// Preflight requests of browsers for a page of another origin, and the CORS headers of answers.

const database = useTestDatabase();
const page = "https://app.example.com";
const otherPage = "https://evil.example.com";
const path = `/${LearningLogService.typeName}/CreateEntry`;

test("a page of an allowed origin may call, and may read the headers of gRPC-Web and Connect", async () => {
  const { url } = await startOwnService(database.url, { corsOrigins: ["http://localhost:5173", page] });

  const preflight = await sendPreflight(url, page);
  expect(preflight.status).toBe(204);
  expect(preflight.headers.get("access-control-allow-origin")).toBe(page);
  expect(preflight.headers.get("vary")).toMatch(/\borigin\b/i);
  expect(listed(preflight, "access-control-allow-methods")).toEqual(expect.arrayContaining(["get", "post"]));
  expect(listed(preflight, "access-control-allow-headers")).toEqual(
    expect.arrayContaining([
      "content-type",
      "connect-protocol-version",
      "connect-timeout-ms",
      "grpc-timeout",
      "x-grpc-web",
      "x-user-agent",
    ]),
  );

  const answer = await call(url, page);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("access-control-allow-origin")).toBe(page);
  expect(answer.headers.get("vary")).toMatch(/\borigin\b/i);
  expect(listed(answer, "access-control-expose-headers")).toEqual(
    expect.arrayContaining(["grpc-status", "grpc-message", "grpc-status-details-bin"]),
  );
});

test.for([
  ["another origin", [page], otherPage],
  ["an origin that only starts like an allowed one", [page], `${page}.evil.example`],
  ["every origin in the default configuration", [], page],
] as const)("%s gets no header that allows it to call", async ([, corsOrigins, origin]) => {
  const { url } = await startOwnService(database.url, { corsOrigins });
  for (const response of [await sendPreflight(url, origin), await call(url, origin)]) {
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  }
});

test("CORS_ORIGINS=* allows every origin to call", async () => {
  const { url } = await startOwnService(database.url, { corsOrigins: ["*"] });
  for (const response of [await sendPreflight(url, otherPage), await call(url, otherPage)]) {
    expect(response.ok).toBe(true);
    expect(response.headers.get("access-control-allow-origin")).toBe("*");
    expect(response.headers.get("access-control-allow-credentials")).toBeNull();
  }
});

test("a page of an allowed origin may read errors", async () => {
  const { url } = await startOwnService(database.url, { corsOrigins: [page] });
  for (const response of [
    await call(url, page, "{}"),
    await fetch(`${url}/nowhere`, { headers: { origin: page } }),
  ]) {
    expect(response.ok).toBe(false);
    expect(response.headers.get("access-control-allow-origin")).toBe(page);
  }
});

test("CORS_ORIGINS applies over HTTP/2, too", async () => {
  const { url } = await startOwnService(database.url, { corsOrigins: [page] });
  const session = http2.connect(url);
  onTestFinished(() => session.destroy());
  const ask = (headers: http2.OutgoingHttpHeaders, body?: string) => {
    const stream = session.request({ ":path": path, "content-type": "application/json", ...headers });
    stream.end(body);
    stream.resume();
    return new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once("response", resolve));
  };
  const post = { ":method": "POST" };
  const entry = JSON.stringify({ requestId: randomUUID(), userId: "mia", wordCount: 1 });
  const allowed = { "access-control-allow-origin": page };
  await expect(ask({ ...post, origin: page }, entry)).resolves.toMatchObject({ ":status": 200, ...allowed });
  await expect(ask({ ...post, origin: page }, "{}")).resolves.toMatchObject({ ":status": 400, ...allowed });
  await expect(ask({ ":method": "OPTIONS", origin: page })).resolves.toMatchObject({
    ":status": 204,
    ...allowed,
  });
  await expect(ask({ ":method": "GET", ":path": "/healthz" })).resolves.toMatchObject({
    vary: "accept-encoding, Origin",
  });
  const refused = await ask({ ...post, origin: otherPage }, entry);
  expect(refused["access-control-allow-origin"]).toBeUndefined();
  // A caller that is not a page sends no Origin.
  await expect(ask(post, "{}")).resolves.toMatchObject({ ":status": 400 });
});

function sendPreflight(url: string, origin: string): Promise<Response> {
  return fetch(url + path, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type,connect-protocol-version",
    },
  });
}

function call(url: string, origin: string, body?: string): Promise<Response> {
  const entry = { requestId: randomUUID(), userId: "mia", wordCount: 1 };
  return fetch(url + path, {
    method: "POST",
    headers: { origin, "content-type": "application/json" },
    body: body ?? JSON.stringify(entry),
  });
}

/** Returns the values of a comma-separated header, in lower case. */
function listed(response: Response, header: string): string[] {
  return (response.headers.get(header) ?? "").toLowerCase().split(/, */);
}
