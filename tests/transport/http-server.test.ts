import { randomBytes, randomUUID } from "node:crypto";
import { Agent, get } from "node:http";
import http2 from "node:http2";
import { connect, createServer, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { listen } from "../../src/transport/http-server.ts";
import type { Listeners } from "../../src/transport/unary/http/listeners.ts";
import { grpcClient, transports } from "../support/clients.ts";
import { listenOnFreePort } from "../support/free-port.ts";
import { Random, seed } from "../support/random.ts";
import { lockTables } from "../support/table-locks.ts";
import { startOwnService, useTestService } from "../support/test-service.ts";
import { answerNothing, open } from "./bare-connections.ts";

const service = useTestService();

const anHourMs = 3_600_000;

describe("HTTP/1.1 and HTTP/2 share one port", () => {
  test.for([
    ["together", []],
    ["as one byte and the rest", [1]],
    ["as two bytes and the rest", [2]],
    ["as three bytes and the rest", [3]],
    ["one by one", [1, 1, 1, 1, 1, 1]],
  ] as const)("calls succeed over both if the first bytes arrive %s", async ([, cuts]) => {
    const url = await cutFirstBytes(service.url, cuts);
    for (const [name, createTransport] of Object.entries(transports)) {
      const client = createClient(LearningLogService, createTransport(url));
      const userId = randomUUID();
      await expect(client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }), name)
        .resolves //
        .toMatchObject({ entry: { userId } });
    }
  });

  test("an HTTP/1.1 request is answered although its sender has closed its side", async () => {
    const socket = await open(service.url);
    socket.end("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nalive\n$/s);
  });

  test("HTTP/1.1 methods that start with the same letters as the HTTP/2 preface are served as HTTP/1.1", async () => {
    for (const method of ["POST", "PUT", "PATCH", "PROPFIND"]) {
      await expect(fetch(`${service.url}/healthz`, { method }), method).resolves.toMatchObject({
        status: 404,
      });
    }
  });
});

describe("invalid input from one client does not affect other clients", () => {
  const requests = [
    "GET // HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET //// HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /healthz HTTP/1.0\r\n\r\n",
    "POST /dailyaggregator.v1.LearningLogService/CreateEntry HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
    "POST /dailyaggregator.v1.LearningLogService/CreateEntry HTTP/1.1\r\nHost: a b[\r\nContent-Length: 0\r\n\r\n",
    "POST /dailyaggregator.v1.LearningLogService/CreateEntry HTTP/1.1\r\nHost: :99999999\r\nContent-Length: 0\r\n\r\n",
    "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: the unexpected\r\n\r\n",
    `GET /${"a".repeat(100_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "\r\n\r\n\r\n\r\n",
    "PRI * HTTP/1.1\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame at all",
    "P",
    "PR",
  ].map(Buffer.from);
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  // The start of a ClientHello. The server does not support TLS.
  const tls = Buffer.from("16030100c8010000c40303", "hex");
  const random = new Random(seed);
  const noise = Array.from({ length: 50 }, (_, index) =>
    index % 2 === 0 ? random.bytes(1 + index * 7) : Buffer.concat([preface, random.bytes(index * 7)]),
  );

  test("calls succeed after malformed requests and random bytes", async () => {
    const client = grpcClient(service.url);
    await client.createEntry({ requestId: randomUUID(), userId: "before", wordCount: 1 });
    for (const bytes of [...requests, tls, ...noise]) {
      const socket = await open(service.url);
      // Some clients close their side, the others leave it open.
      if (bytes.length % 2 === 0) socket.end(bytes);
      else socket.write(bytes);
      socket.resume();
    }
    await sleep(100);
    await client.createEntry({ requestId: randomUUID(), userId: "after", wordCount: 1 });
    await expect(fetch(`${service.url}/healthz`)).resolves.toMatchObject({ status: 200 });
  });

  test.for([
    [
      "an invalid host",
      { ":path": `/${LearningLogService.typeName}/GetSummary`, ":authority": ":99999" },
      400,
    ],
    ["the path //", { ":path": "//" }, 404],
    ["the path *", { ":path": "*", ":method": "OPTIONS" }, 404],
  ] as const)("an HTTP/2 request with %s leaves its connection usable", async ([, headers, status]) => {
    const session = http2.connect(service.url);
    onTestFinished(() => session.destroy());
    await expect(statusOf(session, headers)).resolves.toBe(status);
    await expect(statusOf(session, { ":path": "/healthz" })).resolves.toBe(200);
  });

  test("an HTTP/1.1 request with an invalid host is rejected with status 400", async () => {
    const socket = await open(service.url);
    socket.end("GET /dailyaggregator.v1.LearningLogService/GetSummary HTTP/1.1\r\nHost: a b[\r\n\r\n");
    expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
  });

  test("a connection that sends too few bytes, or none, is closed after a time limit", async () => {
    const server = await listen(answerNothing, "127.0.0.1", 0, { idleMs: 100, firstBytesMs: 100 });
    onTestFinished(() => server.close(0));
    const url = `http://127.0.0.1:${server.address.port}`;
    const silent = await open(url);
    const barely = await open(url);
    barely.write("PR");
    const closed = [silent, barely].map((socket) => buffer(socket));
    await expect(Promise.all(closed)).resolves.toEqual([Buffer.alloc(0), Buffer.alloc(0)]);
  });

  test("a connection that closes its side after its first byte is closed at once", async () => {
    const silent = await open(service.url);
    silent.end("P");
    await expect(buffer(silent)).resolves.toHaveLength(0);
  });
});

describe("a call without progress", () => {
  test("is aborted over HTTP/2 if the caller does not send the rest of the request", async () => {
    const { session } = await connectTo(() => {});
    const call = session.request({ ":method": "POST", ":path": "/" }, { endStream: false });
    call.write("the first part");
    await expect(resetCodeOf(call)).resolves.toBe(http2.constants.NGHTTP2_CANCEL);
  });

  test("is aborted over HTTP/2 if the caller does not read the answer", async () => {
    const answer = Buffer.alloc(1_000_000);
    const { session } = await connectTo((stream) => {
      stream.respond();
      stream.resume().end(answer);
    });
    const call = session.request({ ":path": "/" });
    await expect(resetCodeOf(call)).resolves.toBe(http2.constants.NGHTTP2_CANCEL);
  });

  test("is aborted over HTTP/1.1 if the caller does not read the answer", async () => {
    // More than the socket buffers of both sides hold.
    const answer = Buffer.alloc(32_000_000);
    const { url, whenClosed } = await connectTo(() => {}, answer);
    const socket = await open(url);
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await whenClosed;
  });

  test("is kept if the server causes the delay", async () => {
    const { url, session } = await connectTo(async (stream) => {
      stream.resume();
      await sleep(5 * stalledMs);
      stream.respond({ ":status": 201 });
      stream.end();
    });
    await expect(statusOf(session, { ":path": "/" })).resolves.toBe(201);
    await expect(fetch(url)).resolves.toMatchObject({ status: 200 });
  });

  const stalledMs = 50;

  async function connectTo(stream: Listeners["stream"], http1Answer = Buffer.alloc(0)) {
    const { promise: whenClosed, resolve: close } = Promise.withResolvers<void>();
    const listeners: Listeners = {
      async request(_request, response) {
        response.once("close", close);
        await sleep(5 * stalledMs);
        response.end(http1Answer);
      },
      stream,
    };
    const server = await listen(listeners, "127.0.0.1", 0, { stalledMs });
    onTestFinished(() => server.close(0));
    const url = `http://127.0.0.1:${server.address.port}`;
    const session = http2.connect(url);
    onTestFinished(() => session.destroy());
    return { url, session, whenClosed };
  }
});

test("a connection without a call is closed after the configured idle timeout, not before", async () => {
  const idleTimeoutMs = 300;
  const { url } = await startOwnService(service.database.url, { idleTimeoutMs });
  const openedAt = performance.now();
  const socket = await open(url);
  socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const session = http2.connect(url);
  await statusOf(session, { ":path": "/healthz" });
  const closed = [socket.resume(), session].map(
    (connection) => new Promise((resolve) => connection.once("close", resolve)),
  );
  await Promise.race(closed);
  expect(performance.now() - openedAt).toBeGreaterThan(idleTimeoutMs - 10);
  await Promise.all(closed);
});

test("a connection stays open while it is busy, and is closed after the idle timeout when it no longer is", async () => {
  const idleTimeoutMs = 300;
  const { url } = await startOwnService(service.database.url, { idleTimeoutMs });
  const session = http2.connect(url);
  const closed = new Promise((resolve) => session.once("close", resolve));
  // A random header is long enough for the server to take the connection for busy.
  const call = () =>
    statusOf(session, { ":path": "/healthz", "x-filler": randomBytes(2_000).toString("hex") });
  const startedAt = performance.now();
  while (performance.now() - startedAt < 3 * idleTimeoutMs) expect(await call()).toBe(200);
  const lastCallAt = performance.now();
  await closed;
  expect(performance.now() - lastCallAt).toBeGreaterThan(idleTimeoutMs - 10);
});

describe("a shutdown", () => {
  test.for(Object.entries(transports))("completes in-flight calls over %s", async ([, createTransport]) => {
    const stopping = await startOwnService(service.database.url);
    const client = createClient(LearningLogService, createTransport(stopping.url));
    await using lock = await lockTables(service.database);
    const userId = randomUUID();
    const call = client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 });
    await lock.waitForBlocked(1);
    const stopped = stopping.stop();
    await expect.poll(() => open(stopping.url).catch(({ code }) => code)).toBe("ECONNREFUSED");
    await lock.release();
    await expect(call).resolves.toMatchObject({ entry: { userId } });
    await stopped;
  });

  test("does not wait for idle connections", async () => {
    const server = await listen(answerNothing, "127.0.0.1", 0);
    const url = `http://127.0.0.1:${server.address.port}`;
    const silent = await open(url);
    const barely = await open(url);
    barely.write("P");
    const agent = new Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    const http1 = await getOk(url, agent);
    const session = http2.connect(url);
    await statusOf(session, { ":path": "/" });
    const goaway = new Promise((resolve) => session.once("goaway", resolve));
    const closed = [silent, barely, http1, session].map(
      (connection) => new Promise((resolve) => connection.once("close", resolve)),
    );

    await server.close(anHourMs);
    await Promise.all(closed);
    await expect(goaway).resolves.toBe(http2.constants.NGHTTP2_NO_ERROR);
  });

  test("aborts calls that are not answered within the grace period", async () => {
    let requests = 0;
    const count = () => (requests += 1);
    const server = await listen({ request: count, stream: count }, "127.0.0.1", 0);
    const url = `http://127.0.0.1:${server.address.port}`;
    const session = http2.connect(url);
    session.on("error", () => {});
    const calls = Promise.allSettled([fetch(url), statusOf(session, { ":path": "/" })]);
    await expect.poll(() => requests).toBe(2);
    await server.close(100);
    await expect(calls).resolves.toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
  });
});

/**
 * Starts a proxy that forwards the first bytes of every connection in packets of these sizes.
 *
 * @returns the URL of the proxy
 */
async function cutFirstBytes(url: string, sizes: readonly number[]): Promise<string> {
  const server = createServer((downstream) => {
    const upstream = connect(Number(new URL(url).port), "127.0.0.1").setNoDelay();
    for (const socket of [downstream, upstream]) socket.on("error", () => socket.destroy());
    upstream.pipe(downstream);
    downstream.once("readable", async () => {
      for (const size of sizes) {
        upstream.write(downstream.read(size));
        await sleep(20);
      }
      downstream.pipe(upstream);
    });
    onTestFinished(() => {
      downstream.destroy();
      upstream.destroy();
    });
  });
  onTestFinished(() => {
    server.close();
  });
  return `http://127.0.0.1:${await listenOnFreePort(server)}`;
}

/** Waits until the stream is closed, without reading its answer. @returns the code of RST_STREAM */
async function resetCodeOf(stream: http2.ClientHttp2Stream): Promise<number | undefined> {
  stream.on("error", () => {});
  await new Promise((resolve) => stream.once("close", resolve));
  return stream.rstCode;
}

/** Sends a request over HTTP/2. @returns the status of its answer */
function statusOf(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers);
    stream.once("response", ({ ":status": status }) => resolve(status)).once("error", reject);
    stream.once("close", () => reject(new Error("closed without an answer")));
    stream.resume();
  });
}

/** Sends a request, and expects status 200. @returns the connection of the request */
function getOk(url: string, agent: Agent): Promise<Socket> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      expect(response.statusCode).toBe(200);
      const { socket } = response;
      response.resume().once("end", () => resolve(socket));
    }).once("error", reject);
  });
}
