import { type ConnectionMemory, tooMuchHeld } from "../http/connection-memory.ts";
import type { NodeRequest } from "../http/listeners.ts";
import { messageLength, prefixBytes } from "../messages/envelope.ts";
import { ReceivedBytes } from "../messages/received-bytes.ts";

/**
 * Reads a request's body for connect-node, whole messages at a time: connect-node keeps a list of what has come of a
 * message, and goes through that list for each chunk.
 *
 * @param memory counts what has come of a message, and the message until the next one is complete
 * @param maxBytes how large a message may be
 * @throws ConnectError RESOURCE_EXHAUSTED if the connection's calls hold too much
 */
export async function* readMessages(
  request: NodeRequest,
  memory: ConnectionMemory,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const complete = isEnveloped(request) ? completeEnvelopes : wholeBody;
  const received = new ReceivedBytes();
  let heldForOne = 0;
  // Whoever stops reading early must not destroy the request, or nobody can read the rest.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    if (received.length > 0) {
      // Twice, for the buffer that it goes to doubles when it is full.
      const bytes = 2 * chunk.byteLength;
      if (!memory.hold(bytes)) throw tooMuchHeld();
      heldForOne += bytes;
    }
    received.add(chunk);
    const { bytes } = received;
    const end = complete(bytes, maxBytes);
    if (end === 0) continue;
    received.clear();
    memory.release(memory.bytes - heldForOne);
    heldForOne = 0;
    yield bytes.subarray(0, end);
    // A copy, for the rest is little and the buffer may be large.
    if (end < bytes.byteLength) received.add(bytes.slice(end));
  }
  if (received.length > 0) yield received.bytes;
}

/** Everything but unary calls over Connect. */
function isEnveloped({ headers }: NodeRequest): boolean {
  return /^\s*application\/(grpc|connect\+)/i.test(headers["content-type"] ?? "");
}

/** How many bytes the complete envelopes take; all, if the next one is too large, so that it is refused at once. */
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

/** A body without envelopes is complete at its end; or when it is too large, so that it is refused at once. */
function wholeBody(bytes: Uint8Array, maxBytes: number): number {
  return bytes.byteLength > maxBytes ? bytes.byteLength : 0;
}
