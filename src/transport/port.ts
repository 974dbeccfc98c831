import { createServer as createHttp1Server } from "node:http";
import {
  constants,
  createServer as createHttp2Server,
  type Http2Stream,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { connectNodeAdapter } from "@connectrpc/connect-node";
import type { StreamListener } from "./unary/stream-listener.ts";

/** Answers a request of either version of HTTP. */
export type Listener = ReturnType<typeof connectNodeAdapter>;

/** What answers. */
export interface Listeners {
  /** Gets the requests of HTTP/1.1. */
  readonly request: Listener;
  /** Gets the streams of HTTP/2. */
  readonly stream: StreamListener;
}

/** A port that is listened on. */
export interface Port {
  readonly address: AddressInfo;
  /**
   * Takes no new connection, lets the calls in flight finish, and closes each connection after its last one.
   *
   * @param graceMs after this long, whatever is still open is cut off
   */
  close(graceMs: number): Promise<void>;
}

interface TimeLimits {
  /** How long a new connection may take to say which version of HTTP it speaks. */
  readonly firstBytesMs?: number;
  /**
   * An HTTP/2 connection without any traffic for this long is closed after its open calls; and a call is broken off
   * whose caller neither goes on with the request nor takes the answer for this long.
   */
  readonly idleMs?: number;
}

/** Finds a peer that is gone without a word. */
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
  { firstBytesMs = 10_000, idleMs = 300_000 }: TimeLimits = {},
): Promise<Port> {
  const http2 = createHttp2Server({ settings: { maxConcurrentStreams }, ...streamResetLimits });
  const http1 = createHttp1Server({ keepAlive: true, keepAliveInitialDelay: keepAliveMs }, request);
  const sockets = new Set<Socket>();
  const undecided = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  let closing = false;

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
    sniffHttp2(socket, firstBytesMs, (isHttp2) => {
      undecided.delete(socket);
      if (isHttp2) http2.emit("connection", socket);
      else for (const accept of acceptHttp1) accept.call(http1, socket);
    });
  });

  // Over HTTP/1.1, Node itself limits how long a request may take.
  http1.prependListener("request", ({ socket }, answer) => {
    answer.setTimeout(idleMs, () => socket.writableLength > 0 && socket.destroy());
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
    for (const call of young) call.on("timeout", breakOffStalled).setTimeout(idleMs);
    young.clear();
  };
  const watching = setInterval(watchOlder, Math.min(idleMs, 1_000)).unref();
  http2.on("stream", stream);
  http2.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setTimeout(idleMs, () => session.close());
    if (closing) session.close();
  });

  await new Promise<void>((resolve, reject) => {
    http1.once("error", reject);
    http1.listen(port, host, resolve);
  });

  return {
    // A server that listens on a port has an address.
    address: http1.address() as AddressInfo,
    async close(graceMs) {
      closing = true;
      const closed = new Promise((resolve) => http1.close(resolve));
      for (const socket of undecided) socket.destroy();
      for (const session of sessions) session.close();
      // A connection that was busy a moment ago turns idle without a word.
      const sweep = setInterval(() => http1.closeIdleConnections(), 50);
      const cutOff = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearInterval(sweep);
      clearInterval(watching);
      clearTimeout(cutOff);
    },
  };
}

/** Unless it is this side that takes its time. */
function breakOffStalled(this: Http2Stream): void {
  if (!this.readableEnded || this.writableLength > 0) this.close(constants.NGHTTP2_CANCEL);
}

const http2Preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
// No method of HTTP/1.1 starts like this.
const distinctive = http2Preface.subarray(0, 3);

/** Reads as many bytes as it takes to tell the version, and puts them back; who says nothing is hung up on. */
function sniffHttp2(socket: Socket, timeoutMs: number, decide: (isHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const hangUp = () => socket.destroy();
  // Not `data`: it would set the socket flowing, and HTTP/2 reads from the handle below it.
  const onReadable = () => {
    const bytes: Buffer | null = socket.read();
    if (bytes === null) return;
    seen = Buffer.concat([seen, bytes]);
    const isHttp2 = seen.subarray(0, distinctive.length).equals(distinctive);
    if (!isHttp2 && distinctive.subarray(0, seen.length).equals(seen)) return;
    socket.setTimeout(0);
    socket.removeListener("timeout", hangUp);
    socket.removeListener("end", hangUp);
    socket.removeListener("readable", onReadable);
    // Only now: what is put back while `readable` is listened for is announced again at once, for ever.
    socket.unshift(seen);
    decide(isHttp2);
  };
  socket.setTimeout(timeoutMs, hangUp);
  socket.once("end", hangUp);
  socket.on("readable", onReadable);
}
