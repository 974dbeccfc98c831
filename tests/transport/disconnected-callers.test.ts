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
import { answerNothing, open } from "./bare-connections.ts";
import { useServerSockets } from "./server-sockets.ts";

// The server ends a call when its caller cancels it or disconnects, and closes the connection of a disconnected caller.

const sockets = useServerSockets();

const allTransports = Object.entries(transports);
const overHttp2 = allTransports.filter(([name]) => name.endsWith("HTTP/2"));
const methods = ["getSummary", "watchSummary"] as const;

describe.for(adapterNames)("with the adapter %s", (adapterName) => {
  describe.for(allTransports)("over %s", ([, createTransport]) => {
    test.for(methods)("%s ends when its caller cancels it", async (method) => {
      const { call, ended } = await callThroughProxy(adapterName, createTransport, method);
      call.abort();
      await ended;
    });

    test.for(methods)("%s ends when its caller closes the connection", async (method) => {
      const { proxy, url, ended } = await callThroughProxy(adapterName, createTransport, method);
      proxy.finish();
      await ended;
      await expect.poll(() => sockets.openOn(url)).toBe(0);
    });

    test.for(methods)("%s ends when its caller resets the connection", async (method) => {
      const { proxy, url, ended } = await callThroughProxy(adapterName, createTransport, method);
      proxy.reset();
      await ended;
      await expect.poll(() => sockets.openOn(url)).toBe(0);
    });
  });

  describe.for(overHttp2)("over %s", ([, createTransport]) => {
    test.for(methods)("%s ends when its caller stops responding", async (method) => {
      const limits = { silenceMs: 200 };
      const { proxy, url, ended } = await callThroughProxy(adapterName, createTransport, method, limits);
      proxy.silence();
      await ended;
      await expect.poll(() => sockets.openOn(url)).toBe(0);
    });
  });

  /** Starts a call through a proxy. Its handler ends only when its signal aborts; then `ended` resolves. */
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

describe("an HTTP/2 connection", () => {
  test("without a call is closed when its peer closes it", async () => {
    const { url } = await serve(answerNothing);
    const peers = await Promise.all(Array.from({ length: 50 }, () => openHttp2(url)));
    expect(sockets.openOn(url)).toBe(50);
    for (const peer of peers) peer.end();
    await expect.poll(() => sockets.openOn(url)).toBe(0);
  });

  test("is closed when its peer closes it while the server shuts down", async () => {
    const { url, close } = await serve({
      ...answerNothing,
      // The call is never completed, so it blocks the shutdown.
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

  test("without a call is closed when its peer stops responding, and kept while its peer answers PINGs", async () => {
    const silenceMs = 500;
    const { url } = await serve(answerNothing, { silenceMs });
    const session = http2.connect(url);
    onTestFinished(() => session.destroy());
    await once(session, "remoteSettings");
    // Answers no PING.
    const silent = await openHttp2(url);
    await once(silent, "close");
    expect(session.closed).toBe(false);
    expect(sockets.openOn(url)).toBe(1);
  });
});

describe("a connection without a call", () => {
  const idleMs = 300;

  test("is closed after the idle timeout, not before, over HTTP/1.1", async () => {
    const { url } = await serve(answerNothing, { idleMs });
    const socket = await open(url);
    const openedAt = performance.now();
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    socket.resume();
    await once(socket, "close");
    expect(performance.now() - openedAt).toBeGreaterThan(idleMs - 10);
  });

  test("is closed after the idle timeout, not before, over HTTP/2, although the server sends PINGs", async () => {
    const idleMs = 1_200;
    const { url } = await serve(answerNothing, { idleMs, silenceMs: 500 });
    const openedAt = performance.now();
    const session = http2.connect(url);
    session.request({ ":path": "/" }).resume();
    await once(session, "close");
    expect(performance.now() - openedAt).toBeGreaterThan(idleMs - 10);
  });

  test("is closed after the idle timeout, not before, if it has not sent a request", async () => {
    const { url } = await serve(answerNothing, { idleMs, firstBytesMs: 1 });
    const openedAt = performance.now();
    const socket = await open(url);
    socket.resume();
    await once(socket, "close");
    expect(performance.now() - openedAt).toBeGreaterThan(idleMs - 10);
  });
});

describe("the connection of a caller that does not read the answer, and closes its side", () => {
  test("is closed over HTTP/1.1", async () => {
    const { url } = await serve({
      ...answerNothing,
      // More than the socket buffers of both sides hold. The response does not end.
      request: (_request, response) => response.write(Buffer.alloc(32_000_000)),
    });
    const caller = await open(url);
    caller.pause();
    caller.end("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await expect.poll(() => sockets.openOn(url)).toBe(0);
  });

  test("is closed over HTTP/2", async () => {
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

/** Opens a connection that sends the HTTP/2 preface and nothing else. Resolves once the server has answered. */
async function openHttp2(url: string): Promise<Socket> {
  const socket = await open(url);
  socket.write(Buffer.concat([Buffer.from(connectionPreface), settingsFrame({})]));
  await once(socket, "data");
  return socket;
}

async function drain(answers: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of answers);
}
