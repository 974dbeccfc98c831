import { createServer } from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { adapterNames, adapters } from "../support/adapters.ts";
import { conformanceRoutes } from "./conformance-service.ts";
import {
  registry,
  type ServerCompatRequest,
  ServerCompatRequestSchema,
  ServerCompatResponseSchema,
} from "./schema.ts";

// The server under test. The suite's runner starts it with the name of an adapter, writes its configuration to standard
// input, reads its address from standard output, and terminates it with a signal.

/** The value of HTTP_VERSION_2. */
const http2Version = 2;

const name = adapterNames.find((known) => known === process.argv[2]);
if (name === undefined) throw new Error(`usage: server.ts ${adapterNames.join("|")}`);

const request = fromBinary(ServerCompatRequestSchema, withoutSize(await buffer(process.stdin)));
const listeners = adapters[name]({
  routes: conformanceRoutes,
  readMaxBytes: request.messageReceiveLimit,
  jsonOptions: { registry },
});
const server = createServerFor(request);
server.listen(0, "127.0.0.1", () => {
  // A server that listens on a port has an address.
  const { address: host, port } = server.address() as AddressInfo;
  const pemCert = request.serverCreds?.cert ?? new Uint8Array();
  const response = create(ServerCompatResponseSchema, { host, port, pemCert });
  process.stdout.write(withSize(toBinary(ServerCompatResponseSchema, response)));
});
// Exits if the runner is killed, because nothing else terminates the server then.
const { ppid: runner } = process;
setInterval(() => process.ppid !== runner && process.exit(), 1_000);

function createServerFor({ httpVersion, useTls, serverCreds, clientTlsCert }: ServerCompatRequest) {
  const tls = {
    ...(serverCreds && { cert: Buffer.from(serverCreds.cert), key: Buffer.from(serverCreds.key) }),
    ...(clientTlsCert.length > 0 && { ca: Buffer.from(clientTlsCert), requestCert: true }),
  };
  if (httpVersion === http2Version) {
    const server = useTls ? http2.createSecureServer(tls) : http2.createServer();
    server.on("stream", listeners.stream);
    return server;
  }
  const server = useTls ? https.createServer(tls) : createServer();
  // After an answer of more than 64 KiB, Node may not have resumed reading when the next request arrives. Over TLS, a
  // body that follows in a separate record then causes a parse error, and Node closes the connection.
  if (useTls) server.maxRequestsPerSocket = 1;
  server.on("request", listeners.request);
  return server;
}

/** On standard input and output, the size of a message precedes it: 4 bytes, big endian. */
function withSize(message: Uint8Array): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(message.length);
  return Buffer.concat([size, message]);
}

function withoutSize(sized: Buffer): Buffer {
  return sized.subarray(4, 4 + sized.readUInt32BE());
}
