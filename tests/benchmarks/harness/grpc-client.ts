import { type ClientHttp2Session, connect } from "node:http2";
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Code } from "@connectrpc/connect";

/** How a call ended. */
export interface GrpcAnswer {
  /** 0 stands for OK. */
  readonly status: Code | 0;
  readonly message: string;
  /** The answer without its five bytes in front; empty if there was none. */
  readonly body: Buffer;
}

/**
 * gRPC over bare `node:http2`, with nothing that a load does not need: a full client would spend more on a call than
 * the server does, and be what is measured.
 */
export class GrpcClient implements Disposable {
  readonly #sessions: ClientHttp2Session[];
  #calls = 0;

  /** @param connections calls take turns on so many of them */
  constructor(url: string, connections: number) {
    this.#sessions = Array.from({ length: connections }, () => connect(url));
    // The calls fail as well, and tell.
    for (const session of this.#sessions) session.on("error", () => {});
  }

  /**
   * @param path as in `/package.Service/Method`
   * @throws if the connection breaks or the server sends no status
   */
  unary<Schema extends DescMessage>(
    path: string,
    schema: Schema,
    request: MessageShape<Schema>,
  ): Promise<GrpcAnswer> {
    return this.send(path, frame(toBinary(schema, request)));
  }

  /**
   * @param framed a request as {@link frame} makes it
   * @param headers further ones
   */
  send(path: string, framed: Buffer, headers: Readonly<Record<string, string>> = {}): Promise<GrpcAnswer> {
    this.#calls += 1;
    const session = this.#sessions[this.#calls % this.#sessions.length];
    if (session === undefined) throw new Error("a client needs a connection");
    const { promise, resolve, reject } = Promise.withResolvers<GrpcAnswer>();
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc+proto",
      te: "trailers",
      ...headers,
    });
    const chunks: Buffer[] = [];
    let status: string | undefined;
    let message = "";
    const readStatus = (headers: Record<string, unknown>) => {
      if (headers["grpc-status"] === undefined) return;
      status = String(headers["grpc-status"]);
      message = String(headers["grpc-message"] ?? "");
    };
    stream.on("response", readStatus);
    stream.on("trailers", readStatus);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      if (status === undefined) reject(new Error("the server sent no status"));
      else resolve({ status: Number(status), message, body: Buffer.concat(chunks).subarray(prefixBytes) });
    });
    stream.end(framed);
    return promise;
  }

  [Symbol.dispose](): void {
    for (const session of this.#sessions) session.close();
  }
}

/** A zero for "not compressed", and the length in four bytes. */
const prefixBytes = 5;

/** A message as it goes over the wire. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(prefixBytes + message.length);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, prefixBytes);
  return framed;
}
