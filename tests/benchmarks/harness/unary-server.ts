import { createServer as createHttp1Server } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import path from "node:path";
import { create } from "@bufbuild/protobuf";
import type { ConnectRouter, Interceptor } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { CreateEntryResponseSchema, EntrySchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { unaryNodeAdapter } from "../../../src/transport/unary/unary-node-adapter.ts";
import { listenOnFreePort } from "../../support/free-port.ts";

// A process that answers CreateEntry with the entry of the request, and does nothing else. Its first line of output is
// `{"url": …}`. SERVER selects the server: `lean`, `connect-node` or `grpc-js`. HTTP_VERSION is `1` or `2`.
// READ_HEADER=1 adds an interceptor that reads a header of each request. Entries of user "wait" are never answered. On
// SIGUSR2, the process collects garbage, if Node was started with --expose-gc.

const readsHeader = process.env.READ_HEADER === "1";
const headerName = "x-tenant";

const readHeader: Interceptor = (next) => (request) => {
  if (request.header.get(headerName) === null) throw new Error(`no ${headerName}`);
  return next(request);
};

const options = {
  interceptors: readsHeader ? [readHeader] : [],
  routes: (router: ConnectRouter) => {
    router.service(LearningLogService, {
      createEntry({ requestId, userId, wordCount = 0, timestamp }) {
        if (userId === "wait") return new Promise(() => {});
        const entry = create(EntrySchema, { requestId, userId, wordCount });
        if (timestamp !== undefined) entry.timestamp = timestamp;
        return create(CreateEntryResponseSchema, { entry });
      },
    });
  },
};

const port = await start();
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port}` })}\n`);
process.on("SIGTERM", () => process.exit(0));
process.on("SIGUSR2", () => globalThis.gc?.());

function start(): Promise<number> {
  const isHttp1 = process.env.HTTP_VERSION === "1";
  switch (process.env.SERVER) {
    case "lean": {
      const { request, stream } = unaryNodeAdapter(options);
      return listenOnFreePort(
        isHttp1 ? createHttp1Server(request) : createHttp2Server().on("stream", stream),
      );
    }
    case "connect-node": {
      const listener = connectNodeAdapter(options);
      return listenOnFreePort(isHttp1 ? createHttp1Server(listener) : createHttp2Server(listener));
    }
    case "grpc-js":
      return startGrpcJs();
    default:
      throw new Error("SERVER must be lean, connect-node or grpc-js");
  }
}

function startGrpcJs(): Promise<number> {
  const definitions = protoLoader.loadSync("dailyaggregator/v1/learning_log_service.proto", {
    includeDirs: [path.join(import.meta.dirname, "../../../proto")],
  });
  // proto-loader returns services, messages and enums by their names.
  const service = definitions[LearningLogService.typeName] as grpc.ServiceDefinition;
  const createEntry: grpc.handleUnaryCall<Record<string, unknown>, object> = (
    { request, metadata },
    answer,
  ) => {
    if (readsHeader && metadata.get(headerName).length === 0) return answer(new Error(`no ${headerName}`));
    const { requestId, userId, wordCount, timestamp } = request;
    if (userId === "wait") return;
    answer(null, { entry: { requestId, userId, wordCount, timestamp } });
  };
  const server = new grpc.Server();
  server.addService(service, { createEntry });
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, boundPort) =>
      error ? reject(error) : resolve(boundPort),
    );
  });
}
