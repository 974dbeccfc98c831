import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { connectNodeAdapter } from "@connectrpc/connect-node";

/** Answers a request of `node:http`, `node:https` or `node:http2`. */
export type RequestListener = ReturnType<typeof connectNodeAdapter>;

export type NodeRequest = Parameters<RequestListener>[0];
export type NodeResponse = Parameters<RequestListener>[1];

/** Answers a stream of `node:http2`. */
export type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: string[],
) => void;

/** The listeners of an HTTP/1.1 server and an HTTP/2 server that answer the same calls. */
export interface Listeners {
  /** For the event `request` of the HTTP/1.1 server. */
  readonly request: RequestListener;
  /** For the event `stream` of the HTTP/2 server, in place of `request`. */
  readonly stream: StreamListener;
}

/**
 * Turns streams into requests and responses as Node's own HTTP/2 server does. It uses the stream listener of a server
 * that never listens on a port.
 *
 * @param listener receives the request and the response
 */
export function streamListenerOf(listener: RequestListener): StreamListener {
  const [listen] = createServer(listener).listeners("stream");
  // A server with a request listener has one stream listener, which takes the arguments of the event `stream`.
  return listen as StreamListener;
}
