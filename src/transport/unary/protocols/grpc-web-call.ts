import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import {
  contentTypeJson,
  contentTypeProto,
  setTrailerStatus,
  trailerFlag,
  trailerSerialize,
} from "@connectrpc/connect/protocol-grpc-web";
import type { UnaryMethod } from "../call/unary-methods.ts";
import type { Answer, Exchange } from "../http/exchange.ts";
import { envelopBytes } from "../messages/sent-message.ts";
import { EnvelopedCall } from "./enveloped-call.ts";

const protocol = { name: "grpc-web", contentTypeProto, contentTypeJson, skippedFlag: trailerFlag };

/**
 * A unary call over gRPC-Web, whose trailers are part of the body:
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 */
export class GrpcWebCall extends EnvelopedCall {
  constructor(method: UnaryMethod, exchange: Exchange, isBinary: boolean) {
    super(method, exchange, isBinary, protocol);
  }

  async success(message: Message): Promise<Answer> {
    return this.#answer(await this.envelop(message));
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
      this.headers.responseCompression,
      method.options.compressMinBytes,
    );
    return { status: 200, headers, body: Buffer.concat([...message, trailers]) };
  }
}
