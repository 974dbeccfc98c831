import { constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { type ConnectionMemory, freeBytes } from "../http/connection-memory.ts";
import type { NodeResponse } from "../http/listeners.ts";

/** Counts each message until its caller takes it, and breaks the call off if the connection's calls hold too much. */
export function boundAnswer(response: NodeResponse, memory: ConnectionMemory): void {
  const write: WriteChunk = response.write;
  const boundWrite: WriteChunk = function (this: NodeResponse, chunk, encoding, done) {
    // A text comes from end(), and is short.
    const bytes = typeof chunk === "string" ? 0 : chunk.byteLength;
    if (bytes <= freeBytes) return write.call(response, chunk, encoding, done);
    if (memory.hold(bytes)) {
      return write.call(response, chunk, encoding, (error) => {
        memory.release(bytes);
        done(error);
      });
    }
    breakOff(response);
    // With this code, connect-node does not log it.
    process.nextTick(done, new ConnectError("the call was broken off", Code.Aborted));
    return false;
  };
  Object.defineProperty(response, "write", { value: boundWrite });
}

/** As connect-node calls it, and Node itself from end(). */
type WriteChunk = (
  this: NodeResponse,
  chunk: Uint8Array | string,
  encoding: BufferEncoding,
  done: (error?: Error | null) => void,
) => boolean;

function breakOff(response: NodeResponse): void {
  // RESOURCE_EXHAUSTED to gRPC.
  if ("stream" in response) response.stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  else response.destroy();
}
