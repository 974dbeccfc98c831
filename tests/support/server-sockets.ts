import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { afterAll, beforeAll } from "vitest";

/** Call it at the top of a test file: counts the connections that servers of this process have accepted. */
export function useServerSockets(): { openOn(url: string): number } {
  const open = new Set<Socket>();
  // The channel of Node that every server of node:net publishes to.
  const onAccepted = (message: unknown) => {
    const { socket } = message as { socket: Socket };
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  };
  beforeAll(() => subscribe("net.server.socket", onAccepted));
  afterAll(() => {
    unsubscribe("net.server.socket", onAccepted);
  });
  return {
    openOn(url) {
      const port = Number(new URL(url).port);
      return [...open].filter(({ localPort }) => localPort === port).length;
    },
  };
}
