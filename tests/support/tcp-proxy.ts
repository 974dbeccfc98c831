import { connect, createServer, type Server, type Socket } from "node:net";
import { listenOnFreePort } from "./free-port.ts";

/**
 * A way to a server that can be made to fail.
 *
 *     open: forwards
 *     cut: closes every connection, refuses new ones
 *     silent: takes connections and bytes, and forwards nothing, as a network that drops packets
 *
 * In each state, the bytes on its connections can be paused, and arrive later.
 * In each state, it can leave the server: with FIN, as a client that closes, or with RST, as one that is killed.
 *
 * A connection that was silent for once stays so: what was lost on it is lost.
 */
export class TcpProxy {
  readonly target: { readonly host: string; readonly port: number };
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #onward = new Set<Socket>();
  #port = 0;
  #state: "open" | "cut" | "silent" = "open";

  private constructor(target: { host: string; port: number }) {
    this.target = target;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#take(socket));
  }

  static async start(target: { host: string; port: number }): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    proxy.#port = await listenOnFreePort(proxy.#server);
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  cut(): void {
    this.#state = "cut";
    this.#closeAll();
  }

  silence(): void {
    if (this.#state === "silent") return;
    this.#state = "silent";
    for (const socket of this.#sockets) fallSilent(socket);
  }

  /** Closes the proxy's side of every connection to the server, and goes on reading. */
  finish(): void {
    for (const socket of this.#onward) socket.end();
  }

  /** Resets every connection to the server. */
  reset(): void {
    for (const socket of this.#onward) socket.resetAndDestroy();
  }

  /** For new connections; what was cut or silenced does not come back. */
  heal(): void {
    this.#state = "open";
  }

  /** Keeps the bytes of every connection, in both directions, until {@link resume}. */
  pause(): void {
    for (const socket of this.#sockets) socket.cork();
  }

  resume(): void {
    for (const socket of this.#sockets) socket.uncork();
  }

  async stop(): Promise<void> {
    this.#closeAll();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(socket: Socket): void {
    if (this.#state === "cut") {
      socket.destroy();
      return;
    }
    this.#keep(socket);
    if (this.#state === "silent") {
      fallSilent(socket);
      return;
    }
    const onward = connect({ ...this.target, allowHalfOpen: true });
    this.#keep(onward);
    this.#onward.add(onward);
    onward.once("close", () => this.#onward.delete(onward));
    socket.pipe(onward);
    onward.pipe(socket);
    // While silent, even the end of one side stays unknown to the other.
    socket.once("close", () => this.#state !== "silent" && onward.destroy());
    onward.once("close", () => this.#state !== "silent" && socket.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #closeAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Whatever comes on it goes nowhere, and nobody closes it. */
function fallSilent(socket: Socket): void {
  socket.unpipe();
  socket.on("data", () => {});
  socket.resume();
}
