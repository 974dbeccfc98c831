import { once } from "node:events";
import http2 from "node:http2";
import type { Socket } from "node:net";
import { createClient, type Transport } from "@connectrpc/connect";
import { describe, expect, onTestFinished, test } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { listen, type TimeLimits } from "../../src/transport/http-server.ts";
import type { Listeners } from "../../src/transport/unary/http/listeners.ts";
import { type AdapterName, adapterNames, adapters } from "../support/adapters.ts";
import { transports } from "../support/clients.ts";
import { connectionPreface, settingsFrame } from "../support/http2-frames.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { useServerSockets } from "../support/server-sockets.ts";
import { answerNothing, open } from "./bare-connections.ts";

// Callers leave in each way there is. The server notices at once, and nothing of them is left.

const sockets = useServerSockets();

const allTransports = Object.entries(transports);
const overHttp2 = allTransports.filter(([name]) => name.endsWith("HTTP/2"));
const methods = ["getSummary", "watchSummary"] as const;

describe.for(adapterNames)("a caller of a call that %s serves", (adapterName) => {
  describe.for(allTransports)("over %s", ([, createTransport]) => {
    test.for(methods)("gives up %s", async (method) => {
      const { call, ended } = await callThroughProxy(adapterName, createTransport, method);
      call.abort();
      await ended;
    });

    test.for(methods)("closes the connection during %s", async (method) => {
      const { proxy, url, ended } = await callThroughProxy(adapterName, createTransport, method);
      proxy.finish();
      await ended;
      await expect.poll(() => sockets.openOn(url)).toBe(0);
    });

    test.for(methods)("resets the connection during %s", async (method) => {
      const { proxy, url, ended } = await callThroughProxy(adapterName, createTransport, method);
      proxy.reset();
      await ended;
      await expect.poll(() => sockets.openOn(url)).toBe(0);
    });
  });

  describe.for(overHttp2)("over %s", ([, createTransport]) => {
    test.for(methods)("falls silent during %s", async (method) => {
      const limits = { silenceMs: 200 };
      const { proxy, url, ended } = await callThroughProxy(adapterName, createTransport, method, limits);
      proxy.silence();
      await ended;
      await expect.poll(() => sockets.openOn(url)).toBe(0);
    });
  });

  /** A call that is never answered, or not to its end, and whose caller can leave. */
  async function callThroughProxy(
    adapterName: AdapterName,
    createTransport: (baseUrl: string) => Transport,
    method: (typeof methods)[number],
    limits: TimeLimits = {},
  ) {
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const listeners = adapters[adapterName]({
      routes: (router) =>
        router.service(LearningLogService, {
          async getSummary(_, { signal }) {
            begin();
            await once(signal, "abort");
            end();
            return {};
          },
          async *watchSummary(_, { signal }) {
            try {
              yield {};
              begin();
              await once(signal, "abort");
            } finally {
              end();
            }
          },
        }),
    });
    const { url } = await serve(listeners, limits);
    const { proxy, url: proxiedUrl } = await proxyTo(url);
    const client = createClient(LearningLogService, createTransport(proxiedUrl));
    const call = new AbortController();
    onTestFinished(() => call.abort());
    const { signal } = call;
    const answer =
      method === "getSummary"
        ? client.getSummary({}, { signal })
        : drain(client.watchSummary({}, { signal }));
    answer.catch(() => {});
    await begun;
    return { call, proxy, url, ended };
  }
});

describe("a connection of HTTP/2 without a call", () => {
  test("is closed when its peer closes it", async () => {
    const { url } = await serve(answerNothing);
    const peers = await Promise.all(Array.from({ length: 50 }, () => openHttp2(url)));
    expect(sockets.openOn(url)).toBe(50);
    for (const peer of peers) peer.end();
    await expect.poll(() => sockets.openOn(url)).toBe(0);
  });

  test("is closed when its peer closes it, after a stop has begun, too", async () => {
    const { url, close } = await serve({
      ...answerNothing,
      // A call that holds up the stop.
      stream: (stream) => stream.respond(),
    });
    const session = http2.connect(url);
    session.on("error", () => {});
    await once(session.request({ ":path": "/" }), "response");
    const stopped = close(3_600_000);
    session.destroy();
    await stopped;
    expect(sockets.openOn(url)).toBe(0);
    await expect(openHttp2(url)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("is closed when its peer falls silent, and kept while its peer answers to PING", async () => {
    const silenceMs = 500;
    const { url } = await serve(answerNothing, { silenceMs });
    const session = http2.connect(url);
    onTestFinished(() => session.destroy());
    await once(session, "remoteSettings");
    // Answers to nothing.
    const silent = await openHttp2(url);
    await once(silent, "close");
    expect(session.closed).toBe(false);
    expect(sockets.openOn(url)).toBe(1);
  });
});

describe("a connection without a call", () => {
  const idleMs = 300;

  test("is kept for as long as it is set, over HTTP/1.1", async () => {
    const { url } = await serve(answerNothing, { idleMs });
    const socket = await open(url);
    const openedAt = performance.now();
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.resume();
    await once(socket, "close");
    expect(performance.now() - openedAt).toBeGreaterThan(idleMs - 10);
  });

  test("is kept for as long as it is set, over HTTP/2, and no PING prolongs that", async () => {
    const idleMs = 1_200;
    const { url } = await serve(answerNothing, { idleMs, silenceMs: 500 });
    const openedAt = performance.now();
    const session = http2.connect(url);
    session.request({ ":path": "/" }).resume();
    await once(session, "close");
    expect(performance.now() - openedAt).toBeGreaterThan(idleMs - 10);
  });

  test("is kept for as long as it is set, before its first request, too", async () => {
    const { url } = await serve(answerNothing, { idleMs, firstBytesMs: 1 });
    const openedAt = performance.now();
    const socket = await open(url);
    socket.resume();
    await once(socket, "close");
    expect(performance.now() - openedAt).toBeGreaterThan(idleMs - 10);
  });
});

describe("a caller who does not take the answer, and closes its side", () => {
  test("is hung up on over HTTP/1.1", async () => {
    const { url } = await serve({
      ...answerNothing,
      // More than the systems of both sides take, and not complete.
      request: (_request, response) => response.write(Buffer.alloc(32_000_000)),
    });
    const caller = await open(url);
    caller.pause();
    caller.end("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect.poll(() => sockets.openOn(url)).toBe(0);
  });

  test("is hung up on over HTTP/2", async () => {
    const { url } = await serve({
      ...answerNothing,
      stream(stream) {
        stream.respond();
        stream.write(Buffer.alloc(1_000_000));
      },
    });
    const socket = await open(url);
    const session = http2.connect(url, { createConnection: () => socket });
    session.on("error", () => {});
    const call = session.request({ ":path": "/" });
    call.on("error", () => {});
    await once(call, "response");
    socket.end();
    await expect.poll(() => sockets.openOn(url)).toBe(0);
  });
});

async function serve(listeners: Listeners, limits: TimeLimits = {}) {
  const server = await listen(listeners, "127.0.0.1", 0, limits);
  onTestFinished(() => server.close(0));
  const close = (graceMs: number) => server.close(graceMs);
  return { url: `http://127.0.0.1:${server.address.port}`, close };
}

/** A connection that begins as HTTP/2 does, and then says no more; resolves once the server has answered. */
async function openHttp2(url: string): Promise<Socket> {
  const socket = await open(url);
  socket.write(Buffer.concat([Buffer.from(connectionPreface), settingsFrame({})]));
  await once(socket, "data");
  return socket;
}

async function drain(answers: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of answers);
}
