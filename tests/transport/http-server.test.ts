import { randomUUID } from "node:crypto";
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

describe("one port for HTTP/1.1 and HTTP/2, however the first bytes come", () => {
  test.for([
    ["at once", []],
    ["the first byte alone", [1]],
    ["the first two alone", [2]],
    ["the first three alone", [3]],
    ["one by one", [1, 1, 1, 1, 1, 1]],
  ] as const)("%s", async ([, cuts]) => {
    const url = await cutFirstBytes(service.url, cuts);
    for (const [name, createTransport] of Object.entries(transports)) {
      const client = createClient(LearningLogService, createTransport(url));
      const userId = randomUUID();
      await expect(client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }), name)
        .resolves //
        .toMatchObject({ entry: { userId } });
    }
  });

  test("a request of HTTP/1.1 is answered though its sender closed its side already", async () => {
    const socket = await open(service.url);
    socket.end("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nalive\n$/s);
  });

  test("methods of HTTP/1.1 that begin as HTTP/2 does are no HTTP/2", async () => {
    for (const method of ["POST", "PUT", "PATCH", "PROPFIND"]) {
      await expect(fetch(`${service.url}/healthz`, { method }), method).resolves.toMatchObject({
        status: 404,
      });
    }
  });
});

describe("nothing that a stranger sends hurts the others", () => {
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
  // A ClientHello, for there is no TLS here.
  const tls = Buffer.from("16030100c8010000c40303", "hex");
  const random = new Random(seed);
  const noise = Array.from({ length: 50 }, (_, index) =>
    index % 2 === 0 ? random.bytes(1 + index * 7) : Buffer.concat([preface, random.bytes(index * 7)]),
  );

  test("neither malformed requests nor plain noise", async () => {
    const client = grpcClient(service.url);
    await client.createEntry({ requestId: randomUUID(), userId: "before", wordCount: 1 });
    for (const bytes of [...requests, tls, ...noise]) {
      const socket = await open(service.url);
      // With its side closed as well as left open.
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
      "a host that is none",
      { ":path": `/${LearningLogService.typeName}/GetSummary`, ":authority": ":99999" },
      400,
    ],
    ["a path of two slashes", { ":path": "//" }, 404],
    ["a path of a star", { ":path": "*", ":method": "OPTIONS" }, 404],
  ] as const)("a request of HTTP/2 with %s", async ([, headers, status]) => {
    const session = http2.connect(service.url);
    onTestFinished(() => session.destroy());
    await expect(statusOf(session, headers)).resolves.toBe(status);
    await expect(statusOf(session, { ":path": "/healthz" })).resolves.toBe(200);
  });

  test("a malformed host over HTTP/1.1 is told so", async () => {
    const socket = await open(service.url);
    socket.end("GET /dailyaggregator.v1.LearningLogService/GetSummary HTTP/1.1\r\nHost: a b[\r\n\r\n");
    expect(String(await buffer(socket))).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
  });

  test("who connects and says nothing, or too little, is hung up on", async () => {
    const port = await listen(answerNothing, "127.0.0.1", 0, { idleMs: 100, firstBytesMs: 100 });
    onTestFinished(() => port.close(0));
    const url = `http://127.0.0.1:${port.address.port}`;
    const silent = await open(url);
    const barely = await open(url);
    barely.write("PR");
    const closed = [silent, barely].map((socket) => buffer(socket));
    await expect(Promise.all(closed)).resolves.toEqual([Buffer.alloc(0), Buffer.alloc(0)]);
  });

  test("who connects, says nothing and closes its side is hung up on at once", async () => {
    const silent = await open(service.url);
    silent.end("P");
    await expect(buffer(silent)).resolves.toHaveLength(0);
  });
});

describe("a call on which nothing moves", () => {
  test("is broken off if it is the caller who does not go on with the request", async () => {
    const { session } = await connectTo(() => {});
    const call = session.request({ ":method": "POST", ":path": "/" }, { endStream: false });
    call.write("the first part");
    await expect(resetCodeOf(call)).resolves.toBe(http2.constants.NGHTTP2_CANCEL);
  });

  test("is broken off if it is the caller who does not take the answer", async () => {
    const answer = Buffer.alloc(1_000_000);
    const { session } = await connectTo((stream) => {
      stream.respond();
      stream.resume().end(answer);
    });
    const call = session.request({ ":path": "/" });
    await expect(resetCodeOf(call)).resolves.toBe(http2.constants.NGHTTP2_CANCEL);
  });

  test("is broken off if it is the caller who does not take the answer, over HTTP/1.1, too", async () => {
    // More than the systems of both sides take.
    const answer = Buffer.alloc(32_000_000);
    const { url, whenClosed } = await connectTo(() => {}, answer);
    const socket = await open(url);
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await whenClosed;
  });

  test("is kept if it is the server who takes its time", async () => {
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
    const port = await listen(listeners, "127.0.0.1", 0, { stalledMs });
    onTestFinished(() => port.close(0));
    const url = `http://127.0.0.1:${port.address.port}`;
    const session = http2.connect(url);
    onTestFinished(() => session.destroy());
    return { url, session, whenClosed };
  }
});

test("a connection without a call is kept for as long as the configuration says", async () => {
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

describe("a stop", () => {
  test.for(Object.entries(transports))("lets a call over %s finish", async ([, createTransport]) => {
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

  test("does not wait for connections that idle", async () => {
    const port = await listen(answerNothing, "127.0.0.1", 0);
    const url = `http://127.0.0.1:${port.address.port}`;
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

    await port.close(anHourMs);
    await Promise.all(closed);
    await expect(goaway).resolves.toBe(http2.constants.NGHTTP2_NO_ERROR);
  });

  test("does not wait for ever for a request that is never answered", async () => {
    let requests = 0;
    const count = () => (requests += 1);
    const port = await listen({ request: count, stream: count }, "127.0.0.1", 0);
    const url = `http://127.0.0.1:${port.address.port}`;
    const session = http2.connect(url);
    session.on("error", () => {});
    const calls = Promise.allSettled([fetch(url), statusOf(session, { ":path": "/" })]);
    await expect.poll(() => requests).toBe(2);
    await port.close(100);
    await expect(calls).resolves.toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
  });
});

/** A way to the service on which the first bytes of every connection arrive in packets of these sizes. */
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

/** How a stream ended whose answer nobody reads. */
async function resetCodeOf(stream: http2.ClientHttp2Stream): Promise<number | undefined> {
  stream.on("error", () => {});
  await new Promise((resolve) => stream.once("close", resolve));
  return stream.rstCode;
}

/** The status of an answer over HTTP/2. */
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

/** The connection that a request was answered on. */
function getOk(url: string, agent: Agent): Promise<Socket> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      expect(response.statusCode).toBe(200);
      const { socket } = response;
      response.resume().once("end", () => resolve(socket));
    }).once("error", reject);
  });
}
