import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import {
  contentTypeJson,
  contentTypeProto,
  grpcStatusOk,
  setTrailerStatus,
} from "@connectrpc/connect/protocol-grpc";
import type { ProtocolCall } from "../call/serve-unary.ts";
import { UnaryCall } from "../call/unary-call.ts";
import type { UnaryMethod } from "../call/unary-methods.ts";
import type { Answer, Exchange } from "../http/exchange.ts";
import { envelop, readSingleMessage } from "../messages/enveloped-message.ts";
import { type GrpcHeaders, grpcResponseHeaders, readGrpcHeaders } from "./grpc-headers.ts";

/** A unary call over gRPC: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
export class GrpcCall implements ProtocolCall {
  readonly call: UnaryCall;
  readonly #headers: GrpcHeaders;
  readonly #isBinary: boolean;

  constructor(method: UnaryMethod, exchange: Exchange, isBinary: boolean) {
    this.#headers = readGrpcHeaders(exchange.requestHeaders, method);
    this.#isBinary = isBinary;
    this.call = new UnaryCall({
      method,
      exchange,
      protocolName: "grpc",
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
    return readSingleMessage(exchange, encoding, { maxBytes: method.options.readMaxBytes });
  }

  success(message: Message): Answer | Promise<Answer> {
    const { serialization, options } = this.call.method;
    const encoding = {
      serialization: serialization.getO(this.#isBinary),
      compression: this.#headers.responseCompression,
    };
    const body = envelop(message, encoding, options.compressMinBytes);
    return body instanceof Promise ? body.then((bytes) => this.#answer(bytes)) : this.#answer(body);
  }

  failure(error: ConnectError): Answer {
    setTrailerStatus(this.call.responseTrailer, error);
    return this.#answer();
  }

  #answer(body?: Uint8Array): Answer {
    const { responseHeaders: headers, responseTrailers: trailers } = this.call;
    return { status: 200, headers, body, trailers };
  }
}
