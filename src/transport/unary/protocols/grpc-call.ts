import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { contentTypeJson, contentTypeProto, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import type { UnaryMethod } from "../call/unary-methods.ts";
import type { Answer, Exchange } from "../http/exchange.ts";
import { EnvelopedCall } from "./enveloped-call.ts";

const protocol = { name: "grpc", contentTypeProto, contentTypeJson };

/** A unary call over gRPC: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md */
export class GrpcCall extends EnvelopedCall {
  constructor(method: UnaryMethod, exchange: Exchange, isBinary: boolean) {
    super(method, exchange, isBinary, protocol);
  }

  success(message: Message): Answer | Promise<Answer> {
    const body = this.envelop(message);
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
