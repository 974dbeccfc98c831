import type { Message } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import { grpcStatusOk } from "@connectrpc/connect/protocol-grpc";
import type { ProtocolCall } from "../call/serve-unary.ts";
import { UnaryCall } from "../call/unary-call.ts";
import type { UnaryMethod } from "../call/unary-methods.ts";
import type { Answer, Exchange } from "../http/exchange.ts";
import { readSingleMessage } from "../messages/enveloped-message.ts";
import { envelop } from "../messages/sent-message.ts";
import { type GrpcHeaders, grpcResponseHeaders, readGrpcHeaders } from "./grpc-headers.ts";

interface EnvelopedProtocol {
  readonly name: string;
  readonly contentTypeProto: string;
  readonly contentTypeJson: string;
  /** The flag of envelopes that hold no message. */
  readonly skippedFlag?: number;
}

/** The common part of unary calls over gRPC and gRPC-Web: the headers, and messages in envelopes. */
export abstract class EnvelopedCall implements ProtocolCall {
  readonly call: UnaryCall;
  protected readonly headers: GrpcHeaders;
  readonly #isBinary: boolean;
  readonly #skippedFlag: number;

  constructor(method: UnaryMethod, exchange: Exchange, isBinary: boolean, protocol: EnvelopedProtocol) {
    const { name, contentTypeProto, contentTypeJson, skippedFlag = 0 } = protocol;
    this.headers = readGrpcHeaders(exchange.requestHeaders, method);
    this.#isBinary = isBinary;
    this.#skippedFlag = skippedFlag;
    this.call = new UnaryCall({
      method,
      exchange,
      protocolName: name,
      timeoutMs: this.headers.timeoutMs,
      responseHeaders: grpcResponseHeaders(isBinary ? contentTypeProto : contentTypeJson, this.headers),
      responseTrailers: { "grpc-status": grpcStatusOk },
    });
  }

  abstract success(message: Message): Answer | Promise<Answer>;
  abstract failure(error: ConnectError): Answer | Promise<Answer>;

  checkHeaders(): void {
    if (this.headers.error) throw this.headers.error;
  }

  readMessage(): Promise<Message> {
    const { method, exchange } = this.call;
    const encoding = {
      serialization: method.serialization.getI(this.#isBinary),
      compression: this.headers.requestCompression,
    };
    const { readMaxBytes: maxBytes } = method.options;
    return readSingleMessage(exchange, encoding, { maxBytes, skippedFlag: this.#skippedFlag });
  }

  /** Encodes the message of the answer in an envelope. */
  protected envelop(message: Message): Uint8Array | Promise<Uint8Array> {
    const { serialization, options } = this.call.method;
    const encoding = {
      serialization: serialization.getO(this.#isBinary),
      compression: this.headers.responseCompression,
    };
    return envelop(message, encoding, options.compressMinBytes);
  }
}
