import { createServer as createHttp1Server, type ServerResponse } from "node:http";
import { constants, createServer as createHttp2Server, type Http2Stream } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { Http2Connections } from "./http2-connections.ts";
import { NewStreams } from "./new-streams.ts";
import { sniffHttp2 } from "./sniff-http2.ts";
import type { Listeners } from "./unary/http/listeners.ts";

/** A server that listens on a port. */
export interface HttpServer {
  readonly address: AddressInfo;
  /**
   * Stops accepting connections, lets in-flight calls finish, and closes each connection after its last call.
   *
   * @param graceMs after this time, closes all connections that are still open
   */
  close(graceMs: number): Promise<void>;
}

/** Time limits that an operator, or a test, can set. */
export interface TimeLimits {
  /** How long a connection without an open call and without traffic is kept. */
  readonly idleMs?: number;
  /** How long a new connection may take, after its first byte, until its HTTP version is known. */
  readonly firstBytesMs?: number;
  /** A call is aborted if its caller neither sends more of the request nor reads the response for this long. */
  readonly stalledMs?: number;
  /**
   * An HTTP/2 peer that has sent nothing for this long gets a PING. If it sends nothing for as long again, its
   * connection is closed.
   */
  readonly silenceMs?: number;
}

/** After this long without traffic, TCP sends keep-alive probes: ten in ten seconds. */
const keepAliveMs = 30_000;

/**
 * How many calls a peer may cancel at once, and per second after that, before Node takes it for an attack and closes
 * the connection. With Node's defaults of 1000 and 33, callers with short deadlines would break other calls on their
 * connection.
 */
const streamResetLimits = { streamResetBurst: 10_000, streamResetRate: 1_000 };

const maxConcurrentStreams = 1024;

/**
 * Serves HTTP/1.1 and cleartext HTTP/2 on one port. A connection that starts with the HTTP/2 preface goes to the
 * HTTP/2 server, every other connection to the HTTP/1.1 server (RFC 9113, section 3.3: "prior knowledge").
 *
 * @throws Node's error if the server cannot listen, such as EADDRINUSE
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

  // The HTTP/1.1 server owns the port, because Node starts its time limits when it listens. Its own `connection`
  // listeners are removed here, and called below for HTTP/1.1 only.
  const acceptHttp1 = http1.listeners("connection");
  http1.removeAllListeners("connection");
  http1.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // Without a listener, the `error` of a broken connection would end the process. The servers handle `close`.
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
      // A client that closes its side aborts its call. Node still sends a complete response, and then closes.
      socket.once("end", () => latestResponses.get(socket)?.writableEnded === false && socket.destroy());
    });
  });

  const latestResponses = new WeakMap<Socket, ServerResponse>();
  // For HTTP/1.1, only the response needs a limit: Node limits how long a client may take to send a request.
  http1.prependListener("request", ({ socket }, response) => {
    latestResponses.set(socket, response);
    response.setTimeout(stalledMs, () => socket.writableLength > 0 && socket.destroy());
  });
  // Most calls end too soon to be worth a timer. A call gets one if it is still open at the next interval.
  const newStreams = new NewStreams<Http2Stream>();
  http2.on("stream", (call) => newStreams.add(call));
  const setStallTimeouts = () => {
    for (const call of newStreams.takeOpen()) call.on("timeout", resetStalled).setTimeout(stalledMs);
  };
  const stallSweep = setInterval(setStallTimeouts, Math.min(stalledMs, 1_000)).unref();
  http2.on("stream", stream);

  await new Promise<void>((resolve, reject) => {
    http1.once("error", reject);
    http1.listen(port, host, resolve);
  });

  return {
    // The address of a server that listens on a port is an AddressInfo.
    address: http1.address() as AddressInfo,
    async close(graceMs) {
      const closed = new Promise((resolve) => http1.close(resolve));
      for (const socket of undecided) socket.destroy();
      http2Connections.close();
      // Polls, because Node emits no event when a connection becomes idle.
      const idleSweep = setInterval(() => http1.closeIdleConnections(), 50);
      const graceTimeout = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearInterval(idleSweep);
      clearInterval(stallSweep);
      http2Connections.stopWatching();
      clearTimeout(graceTimeout);
    },
  };
}

/**
 * Resets a stream that has timed out, unless this server causes the delay: the request is complete, and no response
 * data is waiting to be sent.
 */
function resetStalled(this: Http2Stream): void {
  if (!this.readableEnded || this.writableLength > 0) this.close(constants.NGHTTP2_CANCEL);
}
