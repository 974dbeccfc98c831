import { connect, type Socket } from "node:net";
import {
  connectionPreface,
  flag,
  frame,
  frameType,
  headerBlock,
  settingsFrame,
  uint32,
} from "../support/http2-frames.ts";

/** Speaks HTTP/2 as no well-behaved client does: frame by frame, without a look at what comes back. */
export class RawHttp2 {
  readonly #socket: Socket;
  /** The numbers of the streams that were begun. */
  readonly #streams: number[] = [];
  #closed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.once("end", () => socket.destroy());
    socket.once("close", () => {
      this.#closed = true;
    });
    socket.resume();
  }

  /** @param settings by their numbers */
  static async open(url: string, settings: Readonly<Record<number, number>> = {}): Promise<RawHttp2> {
    // Half open, so that its FIN says only that nothing more comes from here, as that of a peer that is gone.
    const socket = connect({ port: Number(new URL(url).port), host: "127.0.0.1", allowHalfOpen: true });
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

  get socket(): Socket {
    return this.#socket;
  }

  /** The numbers of the streams that were begun, oldest first. */
  get streams(): readonly number[] {
    return this.#streams;
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

  /**
   * Begins a call of LearningLogService over gRPC.
   *
   * @param message the whole request; left out, it is still to come
   * @returns the number of the stream
   */
  async call(method: string, message?: Uint8Array, headers: Readonly<Record<string, string>> = {}) {
    // The streams of a client have odd numbers.
    const id = 2 * this.#streams.length + 1;
    this.#streams.push(id);
    const block = headerBlock({
      ":method": "POST",
      ":scheme": "http",
      ":authority": "localhost",
      ":path": `/dailyaggregator.v1.LearningLogService/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const frames = [frame(frameType.headers, flag.endHeaders, id, block)];
    if (message) frames.push(frame(frameType.data, flag.endStream, id, envelope(message)));
    await this.send(...frames);
    return id;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A message of gRPC, uncompressed, with its length before it. */
export function envelope(message: Uint8Array): Buffer {
  return Buffer.concat([envelopeHead(message.length), message]);
}

/** Announces a message of so many bytes. */
export function envelopeHead(bytes: number): Buffer {
  return Buffer.concat([Buffer.from([0]), uint32(bytes)]);
}
