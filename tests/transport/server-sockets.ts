import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { afterAll, beforeAll } from "vitest";

/** Counts the open connections that servers of this process have accepted. Call it at the top of a test file. */
export function useServerSockets(): { openOn(url: string): number } {
  const open = new Set<Socket>();
  // Every server of node:net publishes to this diagnostics channel.
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
