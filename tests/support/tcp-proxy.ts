import { connect, createServer, type Server, type Socket } from "node:net";
import { listenOnFreePort } from "./free-port.ts";

/**
 * A proxy to a server, which simulates a network that fails.
 *
 *     open: forwards all bytes
 *     cut: closes every connection, and refuses new ones
 *     silent: accepts connections and bytes, and forwards nothing, as a network that drops packets
 *
 * In each state, it can pause the bytes on its connections, so that they arrive later. It can also close the
 * connections to the server: with FIN, as a client that closes them, or with RST, as a client that is killed.
 *
 * A connection that was silent once stays silent, because its bytes are lost.
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

  /** Closes the proxy's side of every connection to the server, and continues to read. */
  finish(): void {
    for (const socket of this.#onward) socket.end();
  }

  /** Resets every connection to the server. */
  reset(): void {
    for (const socket of this.#onward) socket.resetAndDestroy();
  }

  /** Forwards new connections again. Existing connections stay closed or silent. */
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
    // While silent, the proxy does not even forward that one side has closed.
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

/** Discards everything that the socket receives, and leaves it open. */
function fallSilent(socket: Socket): void {
  socket.unpipe();
  socket.on("data", () => {});
  socket.resume();
}
