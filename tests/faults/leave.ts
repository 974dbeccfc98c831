import { flag, frame, frameType, uint32 } from "../support/http2-frames.ts";
import type { TcpProxy } from "../support/tcp-proxy.ts";
import type { RawHttp2 } from "./raw-http2.ts";

/** Each way in which a client ends, as the server sees it. */
export const waysToLeave = ["politely", "by RST_STREAM", "by FIN", "by RST", "in silence"] as const;

export type WayToLeave = (typeof waysToLeave)[number];

/** The ways that the server can see at once; silence takes it some time to believe. */
export const visibleWaysToLeave = waysToLeave.filter((way) => way !== "in silence");

/** As in the error code CANCEL of RFC 9113, section 7. */
const cancel = uint32(8);

/**
 * Ends a client of HTTP/2.
 *
 *     politely: cancels its calls, says GOAWAY and closes
 *     by RST_STREAM: cancels its calls, and keeps the connection
 *     by FIN: says nothing and closes, as a process that ends with its calls open
 *     by RST: says nothing and breaks the connection, as a process that ends with answers unread
 *     in silence: says nothing and never closes, as a machine that loses its network
 *
 * @param network what lies between the client and the server, and falls silent if that is the way
 */
export async function leave(client: RawHttp2, way: WayToLeave, network?: TcpProxy): Promise<void> {
  const resets = client.streams.map((id) => frame(frameType.reset, 0, id, cancel));
  switch (way) {
    case "politely":
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
      if (network === undefined) throw new Error("only a network can fall silent");
      network.silence();
      return;
  }
}

/** Answers the PING frames of a server, as every client does that is there; without it a client seems to be gone. */
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
