import type { IncomingHttpHeaders } from "node:http";
import { parseContentType as parseConnect } from "@connectrpc/connect/protocol-connect";
import { parseContentType as parseGrpc } from "@connectrpc/connect/protocol-grpc";
import { parseContentType as parseGrpcWeb } from "@connectrpc/connect/protocol-grpc-web";
import type { UnaryMethod } from "./call/unary-methods.ts";

/** The parts of a request that decide whether it is a unary call. */
export interface RequestLine {
  readonly httpVersion: 1 | 2;
  readonly isEncrypted: boolean;
  /** The HTTP method. */
  readonly verb: string | undefined;
  /** The path and query. */
  readonly target: string | undefined;
  readonly authority: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

export interface UnaryMatch {
  readonly method: UnaryMethod;
  readonly choice: ProtocolChoice;
  /** The absolute URL of the request. */
  readonly url: string;
  /** The query parameters of a GET. */
  readonly query: URLSearchParams | undefined;
}

/**
 * Finds the method and the protocol of a unary call.
 *
 * @returns undefined if the request must be delegated: it is not a unary call, its URL is invalid, or its protocol is
 * not supported here, such as gRPC over HTTP/1.1 or gRPC-Web with base64 text
 */
export function matchUnary(
  methods: ReadonlyMap<string, UnaryMethod>,
  { httpVersion, isEncrypted, verb, target = "", authority, headers }: RequestLine,
): UnaryMatch | undefined {
  const queryStart = target.indexOf("?");
  const method = methods.get(queryStart < 0 ? target : target.slice(0, queryStart));
  if (method === undefined || authority === undefined) return undefined;

  const scheme = isEncrypted ? "https" : "http";
  const url =
    queryStart < 0 ? method.url.at(scheme, authority) : URL.parse(target, `${scheme}://${authority}`)?.href;
  if (url === undefined) return undefined;

  const contentType = headers["content-type"];
  if (verb === "POST" && contentType !== undefined) {
    const choice = chooseProtocol(contentType);
    if (choice === undefined || !method.handler.protocolNames.includes(choice.protocol)) return undefined;
    // gRPC needs HTTP/2.
    if (choice.protocol === "grpc" && httpVersion === 1) return undefined;
    return { method, choice, url, query: undefined };
  }
  if (verb === "GET" && method.handler.allowedMethods.includes("GET")) {
    if (contentType !== undefined && chooseProtocol(contentType)?.protocol !== "connect") return undefined;
    const query = new URL(url).searchParams;
    const encoding = query.get("encoding");
    if (encoding !== "proto" && encoding !== "json") return undefined;
    return { method, choice: { protocol: "connect", isBinary: encoding === "proto" }, url, query };
  }
  return undefined;
}

/** The protocol and format that the Content-Type of a unary call selects. */
export interface ProtocolChoice {
  readonly protocol: "grpc" | "grpc-web" | "connect";
  /** Whether messages are in Protobuf; otherwise they are in JSON. */
  readonly isBinary: boolean;
}

/** Clients usually send few different content types. The limit bounds the memory if one sends many. */
const maxCachedChoices = 1024;

const cachedChoices = new Map<string, ProtocolChoice | undefined>();

/** @returns undefined if the type is not a type of a unary call, or if it is gRPC-Web with base64 text */
function chooseProtocol(contentType: string): ProtocolChoice | undefined {
  if (cachedChoices.has(contentType)) return cachedChoices.get(contentType);
  const choice = parse(contentType);
  if (cachedChoices.size < maxCachedChoices) cachedChoices.set(contentType, choice);
  return choice;
}

function parse(contentType: string): ProtocolChoice | undefined {
  const grpc = parseGrpc(contentType);
  if (grpc) return { protocol: "grpc", isBinary: grpc.binary };
  const grpcWeb = parseGrpcWeb(contentType);
  if (grpcWeb) return grpcWeb.text ? undefined : { protocol: "grpc-web", isBinary: grpcWeb.binary };
  const connect = parseConnect(contentType);
  if (connect) return connect.stream ? undefined : { protocol: "connect", isBinary: connect.binary };
  return undefined;
}
