import type { Http2Server, ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";

/** How long a connection lives on which nothing happens. */
export interface Http2ConnectionLimits {
  /** Without any traffic, the connection is closed after its open calls. */
  readonly idleMs: number;
  /** A peer that has sent nothing for this long gets a PING, and is hung up on if it sends nothing for as long again. */
  readonly silenceMs: number;
}

interface Connection {
  readonly session: ServerHttp2Session;
  /** How much had been received at the last look. */
  bytesRead: number;
  isAsked: boolean;
}

/**
 * The connections of an HTTP/2 server.
 *
 *     open ──> closing        idle for too long, or the port closes: no new call is taken
 *     either ──> closed       after the last call; or at once, when the peer closes, resets or falls silent
 */
export class Http2Connections {
  readonly #server: Http2Server;
  readonly #limits: Http2ConnectionLimits;
  readonly #connections = new Map<Socket, Connection>();
  readonly #looking: NodeJS.Timeout;
  #lastLook = performance.now();
  #isClosing = false;

  constructor(server: Http2Server, limits: Http2ConnectionLimits) {
    this.#server = server;
    this.#limits = limits;
    this.#looking = setInterval(() => this.#look(), limits.silenceMs).unref();
  }

  /** Serves a socket whose first bytes are HTTP/2's preface. */
  add(socket: Socket): void {
    // A peer that has closed its side takes no answer, and nothing else ends the session: sockets that were accepted by
    // a server of HTTP/1.1 stay open when their peer closes (`allowHalfOpen`).
    socket.once("end", () => socket.destroy());
    this.#server.once("session", (session) => this.#watch(session, socket));
    // Emits `session` before it returns.
    this.#server.emit("connection", socket);
  }

  /** Lets the open calls finish, and takes no new one. */
  close(): void {
    this.#isClosing = true;
    for (const { session } of this.#connections.values()) session.close();
  }

  /** Ends the watch for silent peers. */
  stopWatching(): void {
    clearInterval(this.#looking);
  }

  #watch(session: ServerHttp2Session, socket: Socket): void {
    this.#connections.set(socket, { session, bytesRead: 0, isAsked: false });
    socket.once("close", () => this.#connections.delete(socket));
    session.setTimeout(this.#limits.idleMs, () => session.close());
    if (this.#isClosing) session.close();
  }

  /** TCP's own keep-alive is not enough: it does not ask while something that was sent is not acknowledged. */
  #look(): void {
    const now = performance.now();
    const isLate = now - this.#lastLook > 1.2 * this.#limits.silenceMs;
    this.#lastLook = now;
    // If this process was held up, it has not read yet what was sent meanwhile.
    if (isLate) return;
    for (const [socket, connection] of this.#connections) {
      const { session, bytesRead, isAsked } = connection;
      connection.bytesRead = socket.bytesRead;
      connection.isAsked = socket.bytesRead === bytesRead;
      if (!connection.isAsked) continue;
      if (isAsked || session.destroyed) socket.destroy();
      else session.ping(() => {});
    }
  }
}
