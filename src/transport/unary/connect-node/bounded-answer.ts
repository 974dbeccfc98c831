import { constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ConnectionMemory, uncountedBytes } from "../http/connection-memory.ts";
import type { NodeResponse } from "../http/listeners.ts";

/** Counts each message until it is sent, and aborts the call if the connection's calls hold too much memory. */
export function boundAnswer(response: NodeResponse, memory: ConnectionMemory): void {
  const write: WriteChunk = response.write;
  const boundWrite: WriteChunk = function (this: NodeResponse, chunk, encoding, done) {
    // A string comes from end(), and is short.
    const bytes = typeof chunk === "string" ? 0 : chunk.byteLength;
    if (bytes <= uncountedBytes) return write.call(response, chunk, encoding, done);
    if (memory.hold(bytes)) {
      return write.call(response, chunk, encoding, (error) => {
        memory.release(bytes);
        done(error);
      });
    }
    abortCall(response);
    // connect-node does not log an error with this code.
    process.nextTick(done, new ConnectError("the call was aborted", Code.Aborted));
    return false;
  };
  Object.defineProperty(response, "write", { value: boundWrite });
}

/** The signature that connect-node uses, and Node itself from end(). */
type WriteChunk = (
  this: NodeResponse,
  chunk: Uint8Array | string,
  encoding: BufferEncoding,
  done: (error?: Error | null) => void,
) => boolean;

function abortCall(response: NodeResponse): void {
  // gRPC clients map this code to RESOURCE_EXHAUSTED.
  if ("stream" in response) response.stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  else response.destroy();
}
