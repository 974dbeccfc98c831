import { once } from "node:events";
import { connect, type Socket } from "node:net";
import {
  connectionPreface,
  flag,
  frame,
  frameType,
  repeatedHeaderBlocks,
  settingsFrame,
  uint32,
} from "../../support/http2-frames.ts";

/** The size of a frame's header: length, type, flags and stream id. */
const headBytes = 9;

/** How much a server may send before it needs a WINDOW_UPDATE. */
const windowBytes = 2 ** 31 - 1;

/** All sockets read into the same memory, because allocating a buffer for each read is expensive. */
const readBuffer = Buffer.alloc(64 * 1024);

type RepeatedHeaderBlocks = ReturnType<typeof repeatedHeaderBlocks>;

interface Pending {
  bodyBytes: number;
  resolve(bodyBytes: number): void;
  reject(reason: Error): void;
}

/**
 * A client for calls of one method over HTTP/2: by default over gRPC, or over Connect with its content type. Of an
 * answer, it reads only the length; an answer without a body is an error.
 *
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
   * @param headers additional headers of each call, or other values of gRPC's
   */
  static async open(
    url: string,
    connections: number,
    path: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<RawGrpcClient> {
    const blocks = repeatedHeaderBlocks({
      ":method": "POST",
      ":path": path,
      ":scheme": "http",
      ":authority": new URL(url).host,
      "content-type": "application/grpc+proto",
      te: "trailers",
      ...headers,
    });
    const opened = Array.from({ length: connections }, () =>
      Connection.open(Number(new URL(url).port), blocks),
    );
    return new RawGrpcClient(await Promise.all(opened));
  }

  /**
   * @param body the request; over gRPC, in its envelope
   * @returns the number of bytes in the answer's body
   * @throws if the answer is an error, or the connection closes before it
   */
  call(body: Buffer): Promise<number> {
    this.#calls += 1;
    const connection = this.#connections[this.#calls % this.#connections.length];
    if (connection === undefined) throw new Error("a client needs a connection");
    return connection.call(body);
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection.close();
  }
}

class Connection {
  readonly #socket: Socket;
  readonly #nextHeaderBlock: Buffer;
  #headerBlock: Buffer;
  readonly #pending = new Map<number, Pending>();
  #nextStreamId = 1;
  #receivedBytes = 0;
  /** The part of a DATA frame that has not arrived yet. Its content is not kept. */
  #missingData = 0;
  /** The stream that ends with this DATA frame. */
  #endingStreamId: number | undefined;
  /** The bytes of another incomplete frame. */
  #rest: Buffer = Buffer.alloc(0);

  static async open(port: number, blocks: RepeatedHeaderBlocks): Promise<Connection> {
    const connection = new Connection(port, blocks);
    await once(connection.#socket, "connect");
    return connection;
  }

  private constructor(port: number, blocks: RepeatedHeaderBlocks) {
    const onRead = (length: number) => {
      this.#receive(readBuffer.subarray(0, length));
      return true;
    };
    const socket = connect({ port, host: "127.0.0.1", onread: { buffer: readBuffer, callback: onRead } });
    this.#socket = socket;
    this.#headerBlock = blocks.first;
    this.#nextHeaderBlock = blocks.next;
    socket.setNoDelay(true);
    socket.write(connectionPreface);
    socket.write(settingsFrame({}));
    socket.write(frame(frameType.windowUpdate, 0, 0, uint32(windowBytes - 65_535)));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of this.#pending.values()) reject(new Error("the connection closed"));
    });
  }

  call(body: Buffer): Promise<number> {
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
    this.#headerBlock = this.#nextHeaderBlock;
    this.#socket.write(frame(frameType.data, flag.endStream, streamId, body));
    return promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let start = this.#skipData(bytes.length);
    while (bytes.length - start >= headBytes) {
      const length = bytes.readUIntBE(start, 3);
      const type = bytes.readUInt8(start + 3);
      const flags = bytes.readUInt8(start + 4);
      const streamId = bytes.readUInt32BE(start + 5);
      const payloadStart = start + headBytes;
      if (type === frameType.data) {
        this.#startData(flags, streamId, length);
        start = payloadStart + this.#skipData(bytes.length - payloadStart);
      } else {
        if (bytes.length - payloadStart < length) break;
        start = payloadStart + length;
        this.#handle(type, flags, streamId, bytes.subarray(payloadStart, start));
      }
    }
    // Copied, because the next read overwrites the memory.
    this.#rest = Buffer.from(bytes.subarray(start));
  }

  #startData(flags: number, streamId: number, length: number): void {
    const pending = this.#pending.get(streamId);
    if (pending) pending.bodyBytes += length;
    this.#makeRoom(length);
    this.#missingData = length;
    // Over Connect, there are no trailers after the body.
    this.#endingStreamId = (flags & flag.endStream) === 0 ? undefined : streamId;
  }

  /** @param available how many bytes have arrived @returns how many of them belong to a DATA frame */
  #skipData(available: number): number {
    const skipped = Math.min(this.#missingData, available);
    this.#missingData -= skipped;
    if (this.#missingData === 0 && this.#endingStreamId !== undefined) {
      this.#end(this.#endingStreamId);
      this.#endingStreamId = undefined;
    }
    return skipped;
  }

  #handle(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case frameType.headers:
        if ((flags & flag.endStream) !== 0) this.#end(streamId);
        break;
      case frameType.reset:
        this.#pending.get(streamId)?.reject(new Error("the server reset the stream"));
        break;
      case frameType.settings:
      case frameType.ping:
        if ((flags & flag.ack) === 0) {
          this.#socket.write(frame(type, flag.ack, 0, type === frameType.ping ? payload : undefined));
        }
        break;
    }
  }

  #end(streamId: number): void {
    const pending = this.#pending.get(streamId);
    this.#pending.delete(streamId);
    if (pending === undefined) return;
    if (pending.bodyBytes > 0) pending.resolve(pending.bodyBytes);
    else pending.reject(new Error("the server answered with an error"));
  }

  #makeRoom(bytes: number): void {
    this.#receivedBytes += bytes;
    if (this.#receivedBytes < windowBytes / 2) return;
    this.#socket.write(frame(frameType.windowUpdate, 0, 0, uint32(this.#receivedBytes)));
    this.#receivedBytes = 0;
  }
}
