import type { IncomingHttpHeaders } from "node:http";
import type { UnaryMethod } from "./call/unary-methods.ts";
import { chooseProtocol, type ProtocolChoice } from "./protocol-choice.ts";

/** What tells whether a request is a unary call. */
export interface RequestLine {
  readonly httpVersion: 1 | 2;
  readonly isEncrypted: boolean;
  /** The HTTP method. */
  readonly verb: string | undefined;
  /** The path with its query. */
  readonly target: string | undefined;
  readonly authority: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

export interface UnaryMatch {
  readonly method: UnaryMethod;
  readonly choice: ProtocolChoice;
  /** Absolute. */
  readonly url: string;
  /** The parameters of a GET. */
  readonly query: URLSearchParams | undefined;
}

/** @returns undefined for what is no unary call, or an odd one */
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
