import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressionNegotiate,
  mergeNonProtocolHeaders,
} from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  contentTypeUnaryJson,
  contentTypeUnaryProto,
  errorToJsonBytes,
  headerProtocolVersion,
  headerTimeout,
  headerUnaryAcceptEncoding,
  headerUnaryContentLength,
  headerUnaryEncoding,
  parseTimeout,
  protocolVersion,
  trailerMux,
} from "@connectrpc/connect/protocol-connect";
import type { ProtocolCall } from "../call/serve-unary.ts";
import { UnaryCall } from "../call/unary-call.ts";
import type { UnaryMethod } from "../call/unary-methods.ts";
import type { Answer, Exchange } from "../http/exchange.ts";
import { headerOf, toNodeHeaders } from "../http/node-headers.ts";
import { compress, type Payload } from "../messages/encoding.ts";
import { readQueryMessage } from "../messages/query-message.ts";
import { encode } from "../messages/sent-message.ts";
import { WholeBodyReader } from "../messages/whole-body-reader.ts";

const timeoutName = headerTimeout.toLowerCase();
const versionName = headerProtocolVersion.toLowerCase();
const encodingName = headerUnaryEncoding.toLowerCase();
const acceptEncodingName = headerUnaryAcceptEncoding.toLowerCase();
const contentLengthName = headerUnaryContentLength.toLowerCase();

/**
 * A unary call over Connect, with its message in the body of a POST or in the URL of a GET:
 * https://connectrpc.com/docs/protocol
 */
export class ConnectCall implements ProtocolCall {
  readonly call: UnaryCall;
  readonly #isBinary: boolean;
  /** The query parameters of a GET. */
  readonly #query: URLSearchParams | undefined;
  readonly #requestCompression: Compression | null;
  readonly #responseCompression: Compression | null;
  readonly #headerError: ConnectError | undefined;

  constructor(method: UnaryMethod, exchange: Exchange, isBinary: boolean, query?: URLSearchParams) {
    const { options } = method;
    const headers = exchange.requestHeaders;
    const timeout = parseTimeout(headerOf(headers, timeoutName), options.maxTimeoutMs);
    const compression = compressionNegotiate(
      options.acceptCompression,
      query ? query.get("compression") : headerOf(headers, encodingName),
      headerOf(headers, acceptEncodingName),
      headerUnaryAcceptEncoding,
    );
    const versionError = options.requireConnectProtocolHeader ? findVersionError(headers, query) : undefined;
    this.#isBinary = isBinary;
    this.#query = query;
    this.#requestCompression = compression.request;
    this.#responseCompression = compression.response;
    this.#headerError = versionError ?? compression.error ?? timeout.error;
    this.call = new UnaryCall({
      method,
      exchange,
      protocolName: "connect",
      timeoutMs: timeout.timeoutMs,
      responseHeaders: { "content-type": isBinary ? contentTypeUnaryProto : contentTypeUnaryJson },
      responseTrailers: {},
    });
  }

  checkHeaders(): void {
    if (this.#headerError) throw this.#headerError;
  }

  async readMessage(): Promise<Message> {
    const { method, exchange } = this.call;
    const { readMaxBytes } = method.options;
    let bytes = this.#query ? readQueryMessage(this.#query) : await readBody(exchange, readMaxBytes);
    if (this.#requestCompression) bytes = await this.#requestCompression.decompress(bytes, readMaxBytes);
    return method.serialization.getI(this.#isBinary).parse(bytes);
  }

  success(message: Message): Answer | Promise<Answer> {
    const { serialization, options } = this.call.method;
    const encoding = {
      serialization: serialization.getO(this.#isBinary),
      compression: this.#responseCompression,
    };
    const payload = encode(message, encoding, options.compressMinBytes);
    return payload instanceof Promise
      ? payload.then((compressed) => this.#answer(200, compressed))
      : this.#answer(200, payload);
  }

  async failure(error: ConnectError): Promise<Answer> {
    const { responseHeader, method } = this.call;
    const { jsonOptions, compressMinBytes } = method.options;
    responseHeader.set("content-type", contentTypeUnaryJson);
    // The metadata of an error that another server sent is not forwarded to the caller.
    if (!error.isWireError) mergeNonProtocolHeaders(responseHeader, error.metadata);
    const body = errorToJsonBytes(error, jsonOptions);
    const payload = await compress(body, this.#responseCompression, compressMinBytes);
    return this.#answer(codeToHttpStatus(error.code), payload);
  }

  #answer(status: number, { bytes, compression }: Payload): Answer {
    const headers = this.#responseHeaders(bytes);
    if (compression) headers[encodingName] = compression.name;
    return { status, headers, body: bytes };
  }

  #responseHeaders(body: Uint8Array): OutgoingHttpHeaders {
    const { call } = this;
    const headers = call.hasResponseTrailer
      ? toNodeHeaders(trailerMux(call.responseHeader, call.responseTrailer))
      : { ...call.responseHeaders };
    headers[contentLengthName] = String(body.byteLength);
    return headers;
  }
}

function readBody(exchange: Exchange, maxBytes: number): Promise<Uint8Array> {
  return exchange.read(new WholeBodyReader(maxBytes, headerOf(exchange.requestHeaders, contentLengthName)));
}

function findVersionError(
  headers: IncomingHttpHeaders,
  query: URLSearchParams | undefined,
): ConnectError | undefined {
  const version = query ? query.get("connect") : headerOf(headers, versionName);
  const expected = query ? `v${protocolVersion}` : protocolVersion;
  if (version === expected) return undefined;
  const message =
    version === null
      ? `missing required ${query ? "parameter" : "header"}: set ${query ? "connect" : headerProtocolVersion} to "${expected}"`
      : `${query ? "connect" : headerProtocolVersion} must be "${expected}": got "${version}"`;
  return new ConnectError(message, Code.InvalidArgument);
}
