import { type ClientHttp2Session, connect } from "node:http2";
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Code } from "@connectrpc/connect";

/** How a call ended. */
export interface GrpcAnswer {
  /** 0 stands for OK. */
  readonly status: Code | 0;
  readonly message: string;
  /** The answer without the five bytes before it; empty if there was no answer. */
  readonly body: Buffer;
}

/**
 * A client for gRPC over `node:http2`, with only what a load needs. A complete client would spend more time on a call
 * than the server does, so that the benchmarks would measure the client.
 */
export class GrpcClient implements Disposable {
  readonly #sessions: ClientHttp2Session[];
  #calls = 0;

  /** @param connections the number of connections, which the calls use in turn */
  constructor(url: string, connections: number) {
    this.#sessions = Array.from({ length: connections }, () => connect(url));
    // The calls of the session fail, too, and report the error.
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
   * @param framed a request as {@link frame} returns it
   * @param headers additional headers
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

/** The size of an envelope: a zero for "not compressed", and the length in four bytes. */
const prefixBytes = 5;

/** A message in its envelope, as it is sent. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(prefixBytes + message.length);
  framed.writeUInt8(0, 0);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, prefixBytes);
  return framed;
}
