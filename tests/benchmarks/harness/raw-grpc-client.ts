import { once } from "node:events";
import { connect, type Socket } from "node:net";
import {
  connectionPreface,
  flag,
  frame,
  frameType,
  headerBlock,
  settingsFrame,
  uint32,
} from "../../support/http2-frames.ts";

/** The size of a frame's header: length, type, flags and stream id. */
const headBytes = 9;

/** How much a server may send before it needs a WINDOW_UPDATE. */
const windowBytes = 2 ** 31 - 1;

interface Pending {
  bodyBytes: number;
  resolve(bodyBytes: number): void;
  reject(reason: Error): void;
}

/**
 * A client for gRPC calls of one method. Of an answer, it reads only the length; an answer without a body is an error.
 * It takes a quarter of the time that a server spends on a call, so that the benchmarks measure the server.
 */
export class RawGrpcClient implements Disposable {
  readonly #connections: Connection[];
  #calls = 0;

  private constructor(connections: Connection[]) {
    this.#connections = connections;
  }

  /**
   * @param connections the number of connections, which the calls use in turn
   * @param path as in `/package.Service/Method`
   * @param headers additional headers of each call
   */
  static async open(
    url: string,
    connections: number,
    path: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawGrpcClient> {
    const block = headerBlock({
      ":method": "POST",
      ":path": path,
      ":scheme": "http",
      ":authority": new URL(url).host,
      "content-type": "application/grpc+proto",
      te: "trailers",
      ...headers,
    });
    const opened = Array.from({ length: connections }, async () => {
      const socket = connect(Number(new URL(url).port), "127.0.0.1");
      await once(socket, "connect");
      return new Connection(socket, block);
    });
    return new RawGrpcClient(await Promise.all(opened));
  }

  /**
   * @param framed the request in its envelope
   * @returns the number of bytes in the answer's body
   * @throws if the answer is an error, or the connection closes before it
   */
  call(framed: Buffer): Promise<number> {
    this.#calls += 1;
    const connection = this.#connections[this.#calls % this.#connections.length];
    if (connection === undefined) throw new Error("a client needs a connection");
    return connection.call(framed);
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection.close();
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #headerBlock: Buffer;
  readonly #pending = new Map<number, Pending>();
  #nextStreamId = 1;
  #receivedBytes = 0;
  /** The bytes of an incomplete frame. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket, block: Buffer) {
    this.#socket = socket;
    this.#headerBlock = block;
    socket.setNoDelay(true);
    socket.write(connectionPreface);
    socket.write(settingsFrame({}));
    socket.write(frame(frameType.windowUpdate, 0, 0, uint32(windowBytes - 65_535)));
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of this.#pending.values()) reject(new Error("the connection closed"));
    });
  }

  call(framed: Buffer): Promise<number> {
    const streamId = this.#nextStreamId;
    this.#nextStreamId += 2;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#pending.set(streamId, { bodyBytes: 0, resolve, reject });
    // Calls that begin in the same tick are sent together.
    if (this.#socket.writableCorked === 0) {
      this.#socket.cork();
      process.nextTick(() => this.#socket.uncork());
    }
    this.#socket.write(frame(frameType.headers, flag.endHeaders, streamId, this.#headerBlock));
    this.#socket.write(frame(frameType.data, flag.endStream, streamId, framed));
    return promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = 0;
    while (bytes.length - start >= headBytes) {
      const end = start + headBytes + bytes.readUIntBE(start, 3);
      if (bytes.length < end) break;
      const type = bytes.readUInt8(start + 3);
      const flags = bytes.readUInt8(start + 4);
      this.#handle(type, flags, bytes.readUInt32BE(start + 5), bytes.subarray(start + headBytes, end));
      start = end;
    }
    this.#rest = bytes.subarray(start);
  }

  #handle(type: number, flags: number, streamId: number, payload: Buffer): void {
    const pending = this.#pending.get(streamId);
    switch (type) {
      case frameType.data:
        if (pending) pending.bodyBytes += payload.length;
        this.#makeRoom(payload.length);
        break;
      case frameType.headers:
        if (pending && (flags & flag.endStream) !== 0) this.#end(streamId, pending);
        break;
      case frameType.reset:
        pending?.reject(new Error("the server reset the stream"));
        break;
      case frameType.settings:
      case frameType.ping:
        if ((flags & flag.ack) === 0) {
          this.#socket.write(frame(type, flag.ack, 0, type === frameType.ping ? payload : undefined));
        }
        break;
    }
  }

  #end(streamId: number, { bodyBytes, resolve, reject }: Pending): void {
    this.#pending.delete(streamId);
    if (bodyBytes > 0) resolve(bodyBytes);
    else reject(new Error("the server answered with an error"));
  }

  #makeRoom(bytes: number): void {
    this.#receivedBytes += bytes;
    if (this.#receivedBytes < windowBytes / 2) return;
    this.#socket.write(frame(frameType.windowUpdate, 0, 0, uint32(this.#receivedBytes)));
    this.#receivedBytes = 0;
  }
}
