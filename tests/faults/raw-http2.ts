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

/** An HTTP/2 client that sends single frames and ignores what it receives, as no well-behaved client does. */
export class RawHttp2 {
  readonly #socket: Socket;
  /** The ids of the streams that were opened. */
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

  /** @param settings the values, by the ids of the settings */
  static async open(url: string, settings: Readonly<Record<number, number>> = {}): Promise<RawHttp2> {
    // The connection may be half open, so that a FIN from here closes only this side, as when a process ends.
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

  /** Whether the connection is closed. */
  get closed(): boolean {
    return this.#closed;
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** The ids of the streams that were opened, oldest first. */
  get streams(): readonly number[] {
    return this.#streams;
  }

  /** Stops reading what the server sends. */
  stopReading(): void {
    this.#socket.pause();
  }

  /** Resolves when the socket can take more frames, or is closed. */
  async send(...frames: Buffer[]): Promise<void> {
    if (this.#closed || this.#socket.write(Buffer.concat(frames))) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once("drain", resolve).once("close", resolve);
    await promise;
    this.#socket.off("drain", resolve).off("close", resolve);
  }

  /**
   * Starts a call of LearningLogService over gRPC.
   *
   * @param message the whole request; without it, only the headers are sent
   * @returns the id of the stream
   */
  async call(method: string, message?: Uint8Array, headers: Readonly<Record<string, string>> = {}) {
    // The streams of a client have odd ids.
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

/** An uncompressed gRPC message in its envelope. */
export function envelope(message: Uint8Array): Buffer {
  return Buffer.concat([envelopeHead(message.length), message]);
}

/** The start of an envelope: its flags, and the length of an uncompressed message. */
export function envelopeHead(bytes: number): Buffer {
  return Buffer.concat([Buffer.from([0]), uint32(bytes)]);
}
