import { createServer as createHttp1Server, type ServerResponse } from "node:http";
import { constants, createServer as createHttp2Server, type Http2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { Http2Connections } from "./http2-connections.ts";
import { sniffHttp2 } from "./sniff-http2.ts";
import type { Listeners } from "./unary/http/listeners.ts";

/** A server that listens on a port. */
export interface HttpServer {
  readonly address: AddressInfo;
  /**
   * Takes no new connection, lets the calls in flight finish, and closes each connection after its last one.
   *
   * @param graceMs after this long, whatever is still open is cut off
   */
  close(graceMs: number): Promise<void>;
}

/** What an operator, or a test, can set. */
export interface TimeLimits {
  /** How long a connection is kept on which no call is open and nothing happens. */
  readonly idleMs?: number;
  /** How long a new connection may take, after its first byte, to say which version of HTTP it speaks. */
  readonly firstBytesMs?: number;
  /** A call is broken off whose caller neither goes on with the request nor takes the answer for this long. */
  readonly stalledMs?: number;
  /** How long a peer of HTTP/2 may send nothing before it is asked for a sign of life, and again before the hang-up. */
  readonly silenceMs?: number;
}

/** After this long without traffic, TCP asks the peer for a sign of life: ten times in ten seconds. */
const keepAliveMs = 30_000;

/**
 * How many calls a connection may cancel at once, and per second after that, before it is taken for an attack and closed.
 * By Node's default of 1000 and 33, callers with short deadlines would break the calls of others on their connection.
 */
const streamResetLimits = { streamResetBurst: 10_000, streamResetRate: 1_000 };

const maxConcurrentStreams = 1024;

/**
 * Serves HTTP/1.1 and cleartext HTTP/2 on one port: a connection that opens with HTTP/2's preface goes to the HTTP/2
 * server, every other one to the HTTP/1.1 server (RFC 9113, section 3.3: "prior knowledge").
 */
export async function listen(
  { request, stream }: Listeners,
  host: string,
  port: number,
  { idleMs = 620_000, firstBytesMs = 10_000, stalledMs = 300_000, silenceMs = 20_000 }: TimeLimits = {},
): Promise<HttpServer> {
  const http2 = createHttp2Server({ settings: { maxConcurrentStreams }, ...streamResetLimits });
  const http1 = createHttp1Server(
    { keepAlive: true, keepAliveInitialDelay: keepAliveMs, keepAliveTimeout: idleMs },
    request,
  );
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();
  const http2Connections = new Http2Connections(http2, { idleMs, silenceMs });

  // The HTTP/1.1 server owns the port, for its time limits start with its listening; its own way of taking a
  // connection then is one of two.
  const acceptHttp1 = http1.listeners("connection");
  http1.removeAllListeners("connection");
  http1.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // A peer that goes away without a word must not end the process; the servers see the connection close.
    socket.on("error", () => {});
    undecided.add(socket);
    socket.once("close", () => undecided.delete(socket));
    sniffHttp2(socket, { idleMs, firstBytesMs }, (isHttp2) => {
      undecided.delete(socket);
      if (isHttp2) {
        http2Connections.add(socket);
        return;
      }
      for (const accept of acceptHttp1) accept.call(http1, socket);
      // An answer that is complete is still sent; Node closes the connection after it.
      socket.once("end", () => latestAnswers.get(socket)?.writableEnded === false && socket.destroy());
    });
  });

  const latestAnswers = new WeakMap<Socket, ServerResponse>();
  // Over HTTP/1.1, Node itself limits how long a request may take.
  http1.prependListener("request", ({ socket }, answer) => {
    latestAnswers.set(socket, answer);
    answer.setTimeout(stalledMs, () => socket.writableLength > 0 && socket.destroy());
  });
  // Most calls end before it is worth a timer to watch them.
  const young = new Set<Http2Stream>();
  const forget = function (this: Http2Stream) {
    young.delete(this);
  };
  http2.on("stream", (call) => {
    young.add(call);
    call.on("close", forget);
  });
  const watchOlder = () => {
    for (const call of young) call.on("timeout", breakOffStalled).setTimeout(stalledMs);
    young.clear();
  };
  const watching = setInterval(watchOlder, Math.min(stalledMs, 1_000)).unref();
  http2.on("stream", stream);

  await new Promise<void>((resolve, reject) => {
    http1.once("error", reject);
    http1.listen(port, host, resolve);
  });

  return {
    // A server that listens on a port has an address.
    address: http1.address() as AddressInfo,
    async close(graceMs) {
      const closed = new Promise((resolve) => http1.close(resolve));
      for (const socket of undecided) socket.destroy();
      http2Connections.close();
      // A connection that was busy a moment ago turns idle without a word.
      const sweep = setInterval(() => http1.closeIdleConnections(), 50);
      const cutOff = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearInterval(sweep);
      clearInterval(watching);
      http2Connections.stopWatching();
      clearTimeout(cutOff);
    },
  };
}

/** Unless it is this side that takes its time. */
function breakOffStalled(this: Http2Stream): void {
  if (!this.readableEnded || this.writableLength > 0) this.close(constants.NGHTTP2_CANCEL);
}
