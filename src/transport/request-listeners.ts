import type { IncomingHttpHeaders } from "node:http2";
import { type ConnectRouter, cors as connectCors, type Interceptor } from "@connectrpc/connect";
import cors from "cors";
import { type ProbeAnswer, probe } from "../health/probes.ts";
import type { Readiness } from "../health/readiness.ts";
import { explainRefusals } from "./refusals.ts";
import { guardedConnectNodeAdapter } from "./unary/connect-node/guarded-connect-node.ts";
import {
  type Listeners,
  type NodeRequest,
  type NodeResponse,
  type RequestListener,
  streamListenerOf,
} from "./unary/http/listeners.ts";
import { unaryNodeAdapter } from "./unary/unary-node-adapter.ts";
import { unbufferedStreams } from "./unbuffered-streams.ts";

/** The maximum size of a request message, in bytes: gRPC's usual limit. */
const maxMessageBytes = 4 * 1024 * 1024;

/** What serves unary calls: the lean path of this repository, or connect-node. It always serves all other calls. */
export type UnaryPath = "lean" | "connect-node";

interface ListenerOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly interceptors: Interceptor[];
  readonly readiness: Readiness;
  /** The text at `/`. */
  readonly about: string;
  readonly corsOrigins: readonly string[];
  readonly unaryPath: UnaryPath;
}

/** Returns listeners for calls of all three protocols, preflights, probes and `/`. Other requests get 404. */
export function createListeners(options: ListenerOptions): Listeners {
  const { routes, interceptors, readiness, about, corsOrigins, unaryPath } = options;
  const adapterOptions = {
    routes(router: ConnectRouter) {
      routes(router);
      explainRefusals(router.handlers);
    },
    interceptors: [unbufferedStreams, ...interceptors],
    readMaxBytes: maxMessageBytes,
    fallback: answerPlainRequest(readiness, about),
  };
  const answer = unaryPath === "lean" ? unaryNodeAdapter(adapterOptions) : onlyConnectNode(adapterOptions);
  const answerPages =
    corsOrigins.length === 0 ? answer : withMiddleware(allowOrigins(corsOrigins), isFromPage, answer);
  return withMiddleware(limitCaching, isGet, answerPages);
}

function onlyConnectNode(options: Parameters<typeof guardedConnectNodeAdapter>[0]): Listeners {
  const request = guardedConnectNodeAdapter(options);
  return { request, stream: streamListenerOf(request) };
}

/** Sets response headers and calls `next`, or answers the request itself. */
type Middleware = (request: NodeRequest, response: NodeResponse, next: () => void) => void;

/**
 * Puts a middleware before the listeners.
 *
 * @param isNeeded whether an HTTP/2 stream with these headers needs the middleware; only then are Node's request and
 *   response objects created for it
 */
function withMiddleware(
  middleware: Middleware,
  isNeeded: (headers: IncomingHttpHeaders) => boolean,
  listeners: Listeners,
): Listeners {
  const request: RequestListener = (received, response) => {
    middleware(received, response, () => listeners.request(received, response));
  };
  const streamWithResponse = streamListenerOf(request);
  return {
    request,
    stream(stream, headers, flags, rawHeaders) {
      const listener = isNeeded(headers) ? streamWithResponse : listeners.stream;
      listener(stream, headers, flags, rawHeaders);
    },
  };
}

/** Allows web pages of these origins to call the service (CORS). */
function allowOrigins(origins: readonly string[]): Middleware {
  return cors({
    origin: origins.includes("*") ? "*" : [...origins],
    methods: [...connectCors.allowedMethods],
    allowedHeaders: [...connectCors.allowedHeaders],
    exposedHeaders: [...connectCors.exposedHeaders],
    maxAge: 2 * 60 * 60,
  });
}

/**
 * Whether a request may come from a web page. Browsers send no `Origin` with a GET to the page's own origin, but may
 * reuse the cached response for a page of another origin: such a GET needs the CORS headers, too.
 */
function isFromPage(headers: IncomingHttpHeaders): boolean {
  return headers.origin !== undefined || headers[":method"] !== "POST";
}

/**
 * The response to a GET belongs to one learner and can change at any time: a browser may store it, but must
 * revalidate it each time. It also varies with `Accept-Encoding`, which decides how it is compressed.
 */
function limitCaching(request: NodeRequest, response: NodeResponse, next: () => void): void {
  if (request.method === "GET") {
    response.setHeader("cache-control", "private, no-cache");
    response.setHeader("vary", "accept-encoding");
  }
  next();
}

function isGet(headers: IncomingHttpHeaders): boolean {
  return headers[":method"] === "GET";
}

function answerPlainRequest(readiness: Readiness, about: string): RequestListener {
  return (request, response) => {
    const url = URL.parse(request.url ?? "/", "http://localhost");
    const isRead = request.method === "GET" || request.method === "HEAD";
    const answer = url && isRead ? plainAnswer(url.pathname) : undefined;
    sendText(request, response, answer ?? { status: 404, text: "not found" });
  };

  function plainAnswer(path: string): ProbeAnswer | undefined {
    return path === "/" ? { status: 200, text: about } : probe(path, readiness);
  }
}

function sendText(request: NodeRequest, response: NodeResponse, { status, text }: ProbeAnswer): void {
  response.statusCode = status;
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.setHeader("cache-control", "no-store");
  response.end(request.method === "HEAD" ? "" : `${text}\n`);
}
