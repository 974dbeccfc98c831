import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** A way to a database that can be held up. Nothing is lost on it. */
export interface PausedLink {
  /** The database's URL, by this way. */
  readonly url: string;
  /** Bytes wait, in both directions. */
  pause(): void;
  resume(): void;
}

/** It is there until the test finishes. */
export async function linkTo(databaseUrl: string): Promise<PausedLink> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => sockets.delete(socket));
  };
  const server = createServer((socket) => {
    const onward = connect({ host: target.hostname, port: Number(target.port) });
    for (const end of [socket, onward]) keep(end);
    socket.pipe(onward).pipe(socket);
    socket.once("close", () => onward.destroy());
    onward.once("close", () => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy does not listen");
  const url = new URL(databaseUrl);
  url.hostname = "127.0.0.1";
  url.port = String(address.port);
  return {
    url: url.href,
    pause() {
      for (const socket of sockets) socket.cork();
    },
    resume() {
      for (const socket of sockets) socket.uncork();
    },
  };
}
