import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import {
  contentTypeJson,
  contentTypeProto,
  grpcStatusOk,
  setTrailerStatus,
  trailerFlag,
  trailerSerialize,
} from "@connectrpc/connect/protocol-grpc-web";
import type { ProtocolCall } from "../call/serve-unary.ts";
import { UnaryCall } from "../call/unary-call.ts";
import type { UnaryMethod } from "../call/unary-methods.ts";
import type { Answer, Exchange } from "../http/exchange.ts";
import { envelop, envelopBytes, readSingleMessage } from "../messages/enveloped-message.ts";
import { type GrpcHeaders, grpcResponseHeaders, readGrpcHeaders } from "./grpc-headers.ts";

/**
 * A unary call over gRPC-Web, whose trailers are a part of the body:
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 */
export class GrpcWebCall implements ProtocolCall {
  readonly call: UnaryCall;
  readonly #headers: GrpcHeaders;
  readonly #isBinary: boolean;

  constructor(method: UnaryMethod, exchange: Exchange, isBinary: boolean) {
    this.#headers = readGrpcHeaders(exchange.requestHeaders, method);
    this.#isBinary = isBinary;
    this.call = new UnaryCall({
      method,
      exchange,
      protocolName: "grpc-web",
      timeoutMs: this.#headers.timeoutMs,
      responseHeaders: grpcResponseHeaders(isBinary ? contentTypeProto : contentTypeJson, this.#headers),
      responseTrailers: { "grpc-status": grpcStatusOk },
    });
  }

  checkHeaders(): void {
    if (this.#headers.error) throw this.#headers.error;
  }

  readMessage(): Promise<Message> {
    const { method, exchange } = this.call;
    const encoding = {
      serialization: method.serialization.getI(this.#isBinary),
      compression: this.#headers.requestCompression,
    };
    return readSingleMessage(exchange, encoding, {
      maxBytes: method.options.readMaxBytes,
      skippedFlag: trailerFlag,
    });
  }

  async success(message: Message): Promise<Answer> {
    const { serialization, options } = this.call.method;
    const encoding = {
      serialization: serialization.getO(this.#isBinary),
      compression: this.#headers.responseCompression,
    };
    return this.#answer(await envelop(message, encoding, options.compressMinBytes));
  }

  failure(error: ConnectError): Promise<Answer> {
    setTrailerStatus(this.call.responseTrailer, error);
    return this.#answer();
  }

  async #answer(...message: Uint8Array[]): Promise<Answer> {
    const { responseTrailer, responseHeaders: headers, method } = this.call;
    const trailers = await envelopBytes(
      trailerFlag,
      trailerSerialize(responseTrailer),
      this.#headers.responseCompression,
      method.options.compressMinBytes,
    );
    return { status: 200, headers, body: Buffer.concat([...message, trailers]) };
  }
}
