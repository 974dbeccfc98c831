import type { Http2Server, ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";

/** When a connection without traffic is closed. */
export interface Http2ConnectionLimits {
  /** A connection without any traffic for this long accepts no new call, and is closed after its open calls. */
  readonly idleMs: number;
  /**
   * A peer that has sent nothing for this long gets a PING. If it sends nothing for as long again, its connection is
   * closed.
   */
  readonly silenceMs: number;
}

/** A connection that receives this many bytes between two sweeps is busy. */
const busyBytes = 10_000;

interface Connection {
  readonly session: ServerHttp2Session;
  /** How many bytes had been received at the last sweep. */
  sweptBytes: number;
  /** Whether the connection is too busy to need an idle timer. */
  isBusy: boolean;
  /** How many bytes had been received at the last check. */
  bytesRead: number;
  /** Whether the last check found no new bytes, and sent a PING. */
  isPinged: boolean;
}

/**
 * The connections of an HTTP/2 server.
 *
 *     open ──> closing        idle for too long, or the server closes: no new call is accepted
 *     either ──> closed       after the last call; or at once, when the peer closes, resets or does not answer a PING
 */
export class Http2Connections {
  readonly #server: Http2Server;
  readonly #limits: Http2ConnectionLimits;
  readonly #connections = new Map<Socket, Connection>();
  readonly #checkTimer: NodeJS.Timeout;
  readonly #sweepTimer: NodeJS.Timeout;
  #lastCheck = performance.now();
  #isClosing = false;

  constructor(server: Http2Server, limits: Http2ConnectionLimits) {
    this.#server = server;
    this.#limits = limits;
    this.#checkTimer = setInterval(() => this.#check(), limits.silenceMs).unref();
    this.#sweepTimer = setInterval(() => this.#sweep(), Math.min(limits.idleMs, 1_000)).unref();
  }

  /** Serves a socket whose first bytes are the HTTP/2 preface. */
  add(socket: Socket): void {
    // A peer that closes its side counts as disconnected. Nothing else would end the session: sockets that an
    // HTTP/1.1 server has accepted stay open when their peer closes (`allowHalfOpen`).
    socket.once("end", () => socket.destroy());
    this.#server.once("session", (session) => this.#watch(session, socket));
    // `session` is emitted before this returns.
    this.#server.emit("connection", socket);
  }

  /** Accepts no new calls, and closes each connection after its open calls. */
  close(): void {
    this.#isClosing = true;
    for (const { session } of this.#connections.values()) session.close();
  }

  /** Stops checking for silent peers and busy connections. */
  stopWatching(): void {
    clearInterval(this.#checkTimer);
    clearInterval(this.#sweepTimer);
  }

  #watch(session: ServerHttp2Session, socket: Socket): void {
    this.#connections.set(socket, { session, sweptBytes: 0, isBusy: false, bytesRead: 0, isPinged: false });
    socket.once("close", () => this.#connections.delete(socket));
    session.setTimeout(this.#limits.idleMs, () => session.close());
    if (this.#isClosing) session.close();
  }

  /**
   * Stops the idle timers of busy connections, and starts those of the others. Node restarts a timer for every frame and
   * every answer, which would take a twentieth of the time of a call.
   */
  #sweep(): void {
    for (const [socket, connection] of this.#connections) {
      const isBusy = socket.bytesRead - connection.sweptBytes >= busyBytes;
      connection.sweptBytes = socket.bytesRead;
      if (isBusy === connection.isBusy) continue;
      connection.isBusy = isBusy;
      connection.session.setTimeout(isBusy ? 0 : this.#limits.idleMs);
    }
  }

  /**
   * Sends a PING to peers that have sent nothing since the last check, and closes the connections of those that have
   * not answered the last PING. TCP keep-alive is not enough: it sends no probes while sent data is not acknowledged.
   */
  #check(): void {
    const now = performance.now();
    const isLate = now - this.#lastCheck > 1.2 * this.#limits.silenceMs;
    this.#lastCheck = now;
    // If this process was blocked, it has not yet read what peers sent in the meantime.
    if (isLate) return;
    for (const [socket, connection] of this.#connections) {
      const { session, bytesRead, isPinged } = connection;
      connection.bytesRead = socket.bytesRead;
      connection.isPinged = socket.bytesRead === bytesRead;
      if (!connection.isPinged) continue;
      if (isPinged || session.destroyed) socket.destroy();
      else session.ping(() => {});
    }
  }
}
