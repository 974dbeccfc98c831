import { constants, type Http2ServerRequest } from "node:http2";
import type { NodeRequest, NodeResponse } from "./listeners.ts";

/** How long a client of HTTP/2 may go on sending after its answer. */
export const lingerMs = 2_000;

/**
 * Lets flow away what is left of a request's body when it is answered early, as one that is too large is. Otherwise
 * the rest blocks the next request of an HTTP/1.1 connection, and HTTP/2 runs out of memory and of streams, so that
 * one caller's mistake fails every other call on the connection.
 */
export function discardUnreadBody(request: NodeRequest, response: NodeResponse): void {
  const drain = () => {
    request.removeAllListeners("readable");
    request.resume();
  };
  if (isHttp2(request)) {
    const { stream } = request;
    // The end of the answer is on its way then, with or without trailers.
    stream.once("wantTrailers", () => {
      if (request.complete) return;
      drain();
      // Not at once: what a client has not sent then, some count as memory in use for ever. RFC 9113, section 8.1
      const linger = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), lingerMs).unref();
      stream.once("close", () => clearTimeout(linger));
    });
  } else {
    response.once("finish", () => {
      if (!request.complete) drain();
    });
  }
}

function isHttp2(request: NodeRequest): request is Http2ServerRequest {
  return request.httpVersionMajor === 2;
}
