import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { connectNodeAdapter } from "@connectrpc/connect-node";

/** Answers a stream of HTTP/2. */
export type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: string[],
) => void;

/**
 * Node's own way from a stream of HTTP/2 to a request and a response: that of a server, which is never listened with.
 *
 * @param listener gets the request and the response
 */
export function streamListenerOf(listener: ReturnType<typeof connectNodeAdapter>): StreamListener {
  const [listen] = createServer(listener).listeners("stream");
  // A server that has a listener for requests has one for streams, and it takes what that event brings.
  return listen as StreamListener;
}
