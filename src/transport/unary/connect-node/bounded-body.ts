import { type ConnectionMemory, memoryLimitError } from "../http/connection-memory.ts";
import type { NodeRequest } from "../http/listeners.ts";
import { messageLength, prefixBytes } from "../messages/envelope.ts";
import { ReceivedBytes } from "../messages/received-bytes.ts";

/**
 * Reads a request's body for connect-node and yields whole messages. If it yielded single chunks, connect-node would
 * keep them in a list and iterate over the list for each new chunk, which takes quadratic time.
 *
 * @param memory counts the chunks of an incomplete message, and a complete message until the next one is complete
 * @param maxBytes the maximum size of a message
 * @throws ConnectError RESOURCE_EXHAUSTED if the connection's calls would hold too much memory
 */
export async function* readMessages(
  request: NodeRequest,
  memory: ConnectionMemory,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const complete = isEnveloped(request) ? completeEnvelopes : wholeBody;
  const received = new ReceivedBytes();
  let heldForIncomplete = 0;
  // If connect-node stops reading early, the request must not be destroyed, so that the rest can be discarded.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    if (received.length > 0) {
      // Counted twice, because the buffer that collects the chunks doubles its capacity when it is full.
      const bytes = 2 * chunk.byteLength;
      if (!memory.hold(bytes)) throw memoryLimitError();
      heldForIncomplete += bytes;
    }
    received.add(chunk);
    const { bytes } = received;
    const end = complete(bytes, maxBytes);
    if (end === 0) continue;
    received.clear();
    memory.release(memory.bytes - heldForIncomplete);
    heldForIncomplete = 0;
    yield bytes.subarray(0, end);
    // Copied, because the rest is small and the buffer may be large.
    if (end < bytes.byteLength) received.add(bytes.slice(end));
  }
  if (received.length > 0) yield received.bytes;
}

/** Whether messages have envelopes: all calls except unary ones over Connect. */
function isEnveloped({ headers }: NodeRequest): boolean {
  return /^\s*application\/(grpc|connect\+)/i.test(headers["content-type"] ?? "");
}

/**
 * @returns the size of the complete envelopes; or the size of all bytes if the next envelope is too large, so that
 * connect-node rejects it at once
 */
function completeEnvelopes(bytes: Uint8Array, maxBytes: number): number {
  let end = 0;
  while (bytes.byteLength - end >= prefixBytes) {
    const length = messageLength(bytes, end);
    if (length > maxBytes) return bytes.byteLength;
    if (bytes.byteLength - end < prefixBytes + length) break;
    end += prefixBytes + length;
  }
  return end;
}

/**
 * @returns 0, because a body without envelopes is complete only at its end; or the size of all bytes if the body is
 * too large, so that connect-node rejects it at once
 */
function wholeBody(bytes: Uint8Array, maxBytes: number): number {
  return bytes.byteLength > maxBytes ? bytes.byteLength : 0;
}
