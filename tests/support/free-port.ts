import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";

/** Makes a server listen on a free port of 127.0.0.1. @returns the port */
export async function listenOnFreePort(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A server that listens on a port has an address.
  return (server.address() as AddressInfo).port;
}

/** A port of 127.0.0.1 on which no server listens. */
export async function freePort(): Promise<number> {
  await using server = createServer();
  return await listenOnFreePort(server);
}
