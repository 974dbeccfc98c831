import { flag, frame, frameType, uint32 } from "../support/http2-frames.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";
import type { RawHttp2 } from "./raw-http2.ts";

/** The ways in which a client can leave, as a server sees them. */
export const waysToLeave = ["by GOAWAY", "by RST_STREAM", "by FIN", "by RST", "in silence"] as const;

export type WayToLeave = (typeof waysToLeave)[number];

/** The ways that a server detects at once. It detects silence only after a timeout. */
export const visibleWaysToLeave = waysToLeave.filter((way) => way !== "in silence");

/** The error code CANCEL (RFC 9113, section 7). */
const cancel = uint32(8);

/**
 * Makes an HTTP/2 client leave.
 *
 *     by GOAWAY: cancels its calls, sends GOAWAY and closes the connection
 *     by RST_STREAM: cancels its calls, and keeps the connection
 *     by FIN: closes the connection without cancelling, as a process that ends with calls open
 *     by RST: resets the connection without cancelling, as a process that ends with unread answers
 *     in silence: neither cancels nor closes, as a machine that loses its network
 *
 * @param network the proxy between the client and the server, which "in silence" needs
 */
export async function leave(client: RawHttp2, way: WayToLeave, network?: TcpProxy): Promise<void> {
  const resets = client.streams.map((id) => frame(frameType.reset, 0, id, cancel));
  switch (way) {
    case "by GOAWAY":
      await client.send(...resets, frame(frameType.goAway, 0, 0, Buffer.alloc(8)));
      client.socket.end();
      return;
    case "by RST_STREAM":
      return client.send(...resets);
    case "by FIN":
      client.socket.end();
      return;
    case "by RST":
      client.socket.resetAndDestroy();
      return;
    case "in silence":
      if (network === undefined) throw new Error("leaving in silence needs a network");
      network.silence();
      return;
  }
}

/** Answers the PING frames of a server, as every live client does. Otherwise, the server closes the connection. */
export function answerPings(client: RawHttp2): void {
  let unread = Buffer.alloc(0);
  client.socket.on("data", (bytes: Buffer) => {
    unread = Buffer.concat([unread, bytes]);
    while (unread.length >= 9 && unread.length >= 9 + unread.readUIntBE(0, 3)) {
      const end = 9 + unread.readUIntBE(0, 3);
      const isPing = unread.readUInt8(3) === frameType.ping && (unread.readUInt8(4) & flag.ack) === 0;
      if (isPing) void client.send(frame(frameType.ping, flag.ack, 0, Buffer.from(unread.subarray(9, end))));
      unread = unread.subarray(end);
    }
  });
}
