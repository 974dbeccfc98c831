import { type Client, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";

/** A client of the service, created in the way that its callers create theirs. */
export type LearningLogClient = Client<typeof LearningLogService>;

/** A transport for each protocol, over each version of HTTP that supports it. */
export const transports: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "Connect over HTTP/1.1": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" }),
  "Connect over HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "gRPC-Web over HTTP/1.1": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" }),
  "gRPC over HTTP/2": (baseUrl) => createGrpcTransport({ baseUrl }),
};

/** A client over gRPC. */
export function grpcClient(baseUrl: string): LearningLogClient {
  return createClient(LearningLogService, createGrpcTransport({ baseUrl }));
}
