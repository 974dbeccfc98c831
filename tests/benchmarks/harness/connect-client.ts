import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";

/** A client for Connect over one version of HTTP, with only what a load needs. */
export interface ConnectClient extends Disposable {
  /**
   * Posts a message.
   *
   * @returns the body of the answer
   * @throws if its status is not 200, or the connection breaks
   */
  post(path: string, contentType: string, message: Uint8Array): Promise<Buffer>;
}

export class Http2ConnectClient implements ConnectClient {
  readonly #sessions: ClientHttp2Session[];
  #calls = 0;

  /** @param connections the number of connections, which the calls use in turn */
  constructor(url: string, connections: number) {
    this.#sessions = Array.from({ length: connections }, () => connectHttp2(url));
    // The calls of the session fail, too, and report the error.
    for (const session of this.#sessions) session.on("error", () => {});
  }

  post(path: string, contentType: string, message: Uint8Array): Promise<Buffer> {
    this.#calls += 1;
    const session = this.#sessions[this.#calls % this.#sessions.length];
    if (session === undefined) throw new Error("a client needs a connection");
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": contentType });
    const chunks: Buffer[] = [];
    let status: number | undefined;
    stream.on("response", (headers) => {
      status = headers[":status"];
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      if (status === 200) resolve(Buffer.concat(chunks));
      else reject(new Error(`the server answered with status ${status}`));
    });
    stream.end(message);
    return promise;
  }

  [Symbol.dispose](): void {
    for (const session of this.#sessions) session.close();
  }
}

/** Uses plain sockets, because node:http would spend more time on a call than the server does. */
export class Http1ConnectClient implements ConnectClient {
  readonly #host: string;
  readonly #port: number;
  readonly #idle: Http1Connection[] = [];

  constructor(url: string) {
    const { host, port } = new URL(url);
    this.#host = host;
    this.#port = Number(port);
  }

  async post(path: string, contentType: string, message: Uint8Array): Promise<Buffer> {
    const connection = this.#idle.pop() ?? new Http1Connection(connect(this.#port, "127.0.0.1"));
    const head =
      `POST ${path} HTTP/1.1\r\nHost: ${this.#host}\r\nContent-Type: ${contentType}\r\n` +
      `Content-Length: ${message.length}\r\n\r\n`;
    const body = await connection.ask(Buffer.concat([Buffer.from(head, "latin1"), message]));
    this.#idle.push(connection);
    return body;
  }

  [Symbol.dispose](): void {
    for (const connection of this.#idle) connection.close();
  }
}

/** A connection for one request at a time. Answers must have a Content-Length. */
class Http1Connection {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #waiting: PromiseWithResolvers<Buffer> | undefined;

  constructor(socket: Socket) {
    this.#socket = socket.setNoDelay();
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => this.#waiting?.reject(error));
    socket.on("close", () => this.#waiting?.reject(new Error("the server closed the connection")));
  }

  ask(request: Buffer): Promise<Buffer> {
    this.#waiting = Promise.withResolvers();
    this.#socket.write(request);
    return this.#waiting.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const headEnd = this.#received.indexOf("\r\n\r\n");
    if (headEnd < 0) return;
    const head = this.#received.toString("latin1", 0, headEnd);
    const bodyStart = headEnd + 4;
    const bodyEnd = bodyStart + Number(/^content-length: (\d+)/im.exec(head)?.[1]);
    if (this.#received.length < bodyEnd) return;
    const body = this.#received.subarray(bodyStart, bodyEnd);
    this.#received = Buffer.alloc(0);
    if (head.startsWith("HTTP/1.1 200 ")) this.#waiting?.resolve(body);
    else this.#waiting?.reject(new Error(`the server answered: ${head.split("\r\n")[0]}`));
  }
}
