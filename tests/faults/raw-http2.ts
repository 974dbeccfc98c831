import { connect, type Socket } from "node:net";
import { connectionPreface, frame, frameType, settingsFrame, uint32 } from "../support/http2-frames.ts";

/** Speaks HTTP/2 as no well-behaved client does: frame by frame, without a look at what comes back. */
export class RawHttp2 {
  readonly #socket: Socket;
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#closed = true;
    });
    socket.resume();
  }

  /** @param settings by their numbers */
  static async open(url: string, settings: Readonly<Record<number, number>> = {}): Promise<RawHttp2> {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const connection = new RawHttp2(socket);
    socket.write(connectionPreface);
    await connection.send(
      settingsFrame(settings),
      frame(frameType.windowUpdate, 0, 0, uint32(2 ** 31 - 65_536)),
    );
    return connection;
  }

  /** Whether the server has hung up. */
  get closed(): boolean {
    return this.#closed;
  }

  /** From now on, nothing that the server sends is read. */
  stopReading(): void {
    this.#socket.pause();
  }

  /** Resolves once they are on their way, or the connection is closed. */
  async send(...frames: Buffer[]): Promise<void> {
    if (this.#closed || this.#socket.write(Buffer.concat(frames))) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once("drain", resolve).once("close", resolve);
    await promise;
    this.#socket.off("drain", resolve).off("close", resolve);
  }

  close(): void {
    this.#socket.destroy();
  }
}
