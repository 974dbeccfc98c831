import { constants, type Http2ServerRequest } from "node:http2";
import type { NodeRequest, NodeResponse } from "./listeners.ts";

/** How long an HTTP/2 client may continue to send its request after the answer. */
export const lingerMs = 2_000;

/**
 * Discards the rest of a request's body if the answer is sent before the body ends, for example because the body is
 * too large. An unread body would block the next request of an HTTP/1.1 connection. Over HTTP/2, unread bodies would
 * exhaust memory and streams, so that one mistake of a client would make all other calls on its connection fail.
 */
export function discardUnreadBody(request: NodeRequest, response: NodeResponse): void {
  const drain = () => {
    request.removeAllListeners("readable");
    request.resume();
  };
  if (isHttp2(request)) {
    const { stream } = request;
    // Emitted when the last part of the answer was passed on for sending, even if there are no trailers.
    stream.once("wantTrailers", () => {
      if (request.complete) return;
      drain();
      // Gives the client time to finish: after a reset, some clients never release the memory of unsent data.
      // The code NO_ERROR asks the client to stop sending: RFC 9113, section 8.1.
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
