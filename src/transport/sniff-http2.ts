import type { Socket } from "node:net";

const http2Preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
// No method of HTTP/1.1 starts like this.
const distinctive = http2Preface.subarray(0, 3);

interface SniffLimits {
  /** How long a connection may stay silent. */
  readonly idleMs: number;
  /** How long it may take, after its first byte, to say which version of HTTP it speaks. */
  readonly firstBytesMs: number;
}

/**
 * Reads as many bytes as it takes to tell the version of HTTP, and puts them back. A peer that closes its side or stays
 * silent is hung up on.
 */
export function sniffHttp2(
  socket: Socket,
  { idleMs, firstBytesMs }: SniffLimits,
  decide: (isHttp2: boolean) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const hangUp = () => socket.destroy();
  // Not `data`: it would set the socket flowing, and HTTP/2 reads from the handle below it.
  const onReadable = () => {
    const bytes: Buffer | null = socket.read();
    if (bytes === null) return;
    if (seen.length === 0) socket.setTimeout(firstBytesMs);
    seen = Buffer.concat([seen, bytes]);
    const isHttp2 = seen.subarray(0, distinctive.length).equals(distinctive);
    if (!isHttp2 && distinctive.subarray(0, seen.length).equals(seen)) return;
    socket.setTimeout(0);
    socket.removeListener("timeout", hangUp);
    socket.removeListener("end", hangUp);
    socket.removeListener("readable", onReadable);
    // Only now: what is put back while `readable` is listened for is announced again at once, for ever.
    socket.unshift(seen);
    decide(isHttp2);
  };
  socket.setTimeout(idleMs, hangUp);
  socket.once("end", hangUp);
  socket.on("readable", onReadable);
}
