import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import {
  encodeEnvelope,
  type UniversalServerRequest,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  contentTypeUnaryJson,
  errorFromJsonBytes,
  errorToJsonBytes,
  headerUnaryContentLength,
  headerUnaryEncoding,
} from "@connectrpc/connect/protocol-connect";
import {
  findTrailerError,
  headerStatusDetailsBin,
  setTrailerStatus,
} from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { blameSender, boundError } from "../call/bounded-error.ts";
import { prefixBytes } from "../messages/envelope.ts";
import { readQueryMessage } from "../messages/query-message.ts";

/**
 * Corrects errors of connect-node's unary calls that do not pass through the interceptors, because connect-node reads
 * headers and messages before it calls them. The interceptor `guardErrors` corrects the others.
 */
export function correctUnaryAnswers({ handlers }: ConnectRouter): void {
  for (const [index, handler] of handlers.entries()) {
    if (handler.method.methodKind !== "unary") continue;
    const corrected = async (request: UniversalServerRequest) => correct(request, await handler(request));
    const { allowedMethods, method, protocolNames, requestPath, service, supportedContentType } = handler;
    const description = { allowedMethods, method, protocolNames, requestPath, service, supportedContentType };
    handlers[index] = Object.assign(corrected, description);
  }
}

/** @returns the error of a GET's message; undefined if the message is valid, or if connect-node has not read it */
function findQueryError({ method, url }: UniversalServerRequest): ConnectError | undefined {
  if (method !== "GET") return undefined;
  const query = new URL(url).searchParams;
  if (!/^(proto|json)$/.test(query.get("encoding") ?? "")) return undefined;
  try {
    readQueryMessage(query);
    return undefined;
  } catch (error) {
    return ConnectError.from(error);
  }
}

async function correct(
  request: UniversalServerRequest,
  response: UniversalServerResponse,
): Promise<UniversalServerResponse> {
  const { status, header, trailer, body } = response;
  if (body === undefined || header === undefined) return response;
  if (trailer !== undefined) return { ...response, body: correctTrailerAtEnd(body, trailer) };
  const type = header.get("content-type") ?? "";
  if (type.startsWith("application/grpc-web")) return { ...response, body: correctEnvelopes(body) };
  // connect-node reports an invalid message in the URL as an internal error.
  const queryError = status === 500 ? findQueryError(request) : undefined;
  if (queryError !== undefined) return connectAnswer(queryError, header);
  // A compressed error has passed through the interceptors: the other errors are too short to be compressed.
  // A body that is not JSON is not an error of Connect.
  if (status === 200 || header.has(headerUnaryEncoding) || type !== contentTypeUnaryJson) return response;
  const bytes = await readAll(body);
  const unreadable = new ConnectError("", Code.Unknown);
  const error = errorFromJsonBytes(bytes, undefined, unreadable);
  const corrected = boundError(blameSender(error));
  return corrected === error ? { ...response, body: singleChunk(bytes) } : connectAnswer(corrected, header);
}

/** Returns the answer of a unary call over Connect that failed with the error. */
function connectAnswer(error: ConnectError, header: Headers): UniversalServerResponse {
  const body = errorToJsonBytes(error, undefined);
  header.set("content-type", contentTypeUnaryJson);
  header.set(headerUnaryContentLength, String(body.byteLength));
  return { status: codeToHttpStatus(error.code), header, body: singleChunk(body) };
}

/** Over gRPC, the trailers are complete only at the end of the body. */
async function* correctTrailerAtEnd(
  body: AsyncIterable<Uint8Array>,
  trailer: Headers,
): AsyncIterable<Uint8Array> {
  yield* body;
  correctTrailer(trailer);
}

/** Over gRPC-Web, the trailers are in the last envelope. */
async function* correctEnvelopes(body: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const envelope of body) {
    if (envelope[0] !== trailerFlag) {
      yield envelope;
    } else {
      const trailer = trailerParse(envelope.subarray(prefixBytes));
      yield correctTrailer(trailer) ? encodeEnvelope(trailerFlag, trailerSerialize(trailer)) : envelope;
    }
  }
}

/** @returns whether the trailer was changed */
function correctTrailer(trailer: Headers): boolean {
  const error = findTrailerError(trailer);
  if (error === undefined) return false;
  const corrected = boundError(blameSender(error));
  if (corrected === error) return false;
  trailer.delete(headerStatusDetailsBin);
  setTrailerStatus(trailer, corrected);
  return true;
}

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* singleChunk(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
