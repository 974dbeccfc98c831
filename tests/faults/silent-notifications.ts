import { connect, createServer, type Server, type Socket } from "node:net";
import { listenOnFreePort } from "../support/free-port.ts";

/**
 * A proxy for PostgreSQL that drops notifications, as a connection pooler with transaction pooling does: LISTEN
 * succeeds, and nothing is delivered.
 */
export class SilentNotifications implements AsyncDisposable {
  readonly url: string;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;

  private constructor(url: string, server: Server, sockets: Set<Socket>) {
    this.url = url;
    this.#server = server;
    this.#sockets = sockets;
  }

  static async start(databaseUrl: string): Promise<SilentNotifications> {
    const { hostname, port } = new URL(databaseUrl);
    const sockets = new Set<Socket>();
    const server = createServer((client) => {
      const database = connect(Number(port), hostname);
      for (const socket of [client, database]) {
        sockets.add(socket);
        socket.on("error", () => {});
        socket.once("close", () => sockets.delete(socket));
      }
      client.once("close", () => database.destroy());
      database.once("close", () => client.destroy());
      client.pipe(database);
      forwardWithoutNotifications(database, client);
    });
    const url = new URL(databaseUrl);
    url.host = `127.0.0.1:${await listenOnFreePort(server)}`;
    return new SilentNotifications(url.href, server, sockets);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const notificationResponse = "A".charCodeAt(0);

/**
 * Each message of a server begins with a byte for its type, and its length:
 * https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
function forwardWithoutNotifications(from: Socket, to: Socket): void {
  let unread = Buffer.alloc(0);
  from.on("data", (bytes: Buffer) => {
    unread = Buffer.concat([unread, bytes]);
    while (unread.length >= 5 && unread.length >= 1 + unread.readUInt32BE(1)) {
      const end = 1 + unread.readUInt32BE(1);
      if (unread[0] !== notificationResponse) to.write(unread.subarray(0, end));
      unread = unread.subarray(end);
    }
  });
}
