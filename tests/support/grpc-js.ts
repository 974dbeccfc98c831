import path from "node:path";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { service as healthService } from "grpc-health-check";
import { onTestFinished } from "vitest";
import { rejectionOf } from "./failures.ts";

// Clients of @grpc/grpc-js, an implementation that the server does not use.

const definitions = protoLoader.loadSync("dailyaggregator/v1/learning_log_service.proto", {
  includeDirs: [path.join(import.meta.dirname, "../../proto")],
  enums: String,
  longs: String,
  defaults: true,
});
const learningLogService = definitions["dailyaggregator.v1.LearningLogService"] as grpc.ServiceDefinition;

/** A message as this library represents it. */
type Message = Record<string, unknown>;

/** A client that calls methods by their names, in lower camel case. It is closed when the test finishes. */
export interface GrpcJsClient {
  /** @throws grpc.ServiceError */
  unary(method: string, request: object, options?: grpc.CallOptions): Promise<Message>;
  stream(method: string, request: object): grpc.ClientReadableStream<Message>;
}

export function learningLogClient(url: string): GrpcJsClient {
  return createClient(learningLogService, url);
}

export function healthClient(url: string): GrpcJsClient {
  return createClient(healthService as grpc.ServiceDefinition, url);
}

/** The error with which a call fails. @throws if it succeeds */
export async function grpcJsFailure(call: Promise<unknown>): Promise<grpc.ServiceError> {
  return (await rejectionOf(call)) as grpc.ServiceError;
}

function createClient(service: grpc.ServiceDefinition, url: string): GrpcJsClient {
  const Client = grpc.makeGenericClientConstructor(service, "");
  const client = new Client(new URL(url).host, grpc.credentials.createInsecure());
  onTestFinished(() => client.close());
  return {
    unary(method, request, options = {}) {
      return new Promise((resolve, reject) => {
        const done: grpc.requestCallback<Message> = (error, response) =>
          error ? reject(error) : resolve(response ?? {});
        client[method]?.(request, options, done);
      });
    },
    stream: (method, request) => client[method]?.(request) as grpc.ClientReadableStream<Message>,
  };
}
