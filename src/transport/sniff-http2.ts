import type { Socket } from "node:net";

const http2Preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
// No HTTP/1.1 method starts with these bytes.
const distinctive = http2Preface.subarray(0, 3);

interface SniffLimits {
  /** How long a connection may take to send its first byte. */
  readonly idleMs: number;
  /** How long a connection may take, after its first byte, until its HTTP version is known. */
  readonly firstBytesMs: number;
}

/**
 * Reads from a socket until its HTTP version is known, puts the bytes back, and calls `decide`. Destroys the socket
 * if the peer closes its side first, or exceeds a limit.
 */
export function sniffHttp2(
  socket: Socket,
  { idleMs, firstBytesMs }: SniffLimits,
  decide: (isHttp2: boolean) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const destroy = () => socket.destroy();
  // Not `data`, which would switch the socket to flowing mode: HTTP/2 reads from the socket's handle.
  const onReadable = () => {
    const bytes: Buffer | null = socket.read();
    if (bytes === null) return;
    if (seen.length === 0) socket.setTimeout(firstBytesMs);
    seen = Buffer.concat([seen, bytes]);
    const isHttp2 = seen.subarray(0, distinctive.length).equals(distinctive);
    if (!isHttp2 && distinctive.subarray(0, seen.length).equals(seen)) return;
    socket.setTimeout(0);
    socket.removeListener("timeout", destroy);
    socket.removeListener("end", destroy);
    socket.removeListener("readable", onReadable);
    // Only after the listener is removed: unshift() would call it again, in an endless loop.
    socket.unshift(seen);
    decide(isHttp2);
  };
  socket.setTimeout(idleMs, destroy);
  socket.once("end", destroy);
  socket.on("readable", onReadable);
}
