import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { Health } from "#gen/health/v1/health_pb.js";
import type { LearningLogClient } from "../support/clients.ts";

/** Clients that share a separate HTTP/2 connection. Disposing of them closes it. */
export interface OwnClient extends Disposable {
  readonly learningLog: LearningLogClient;
  readonly health: Client<typeof Health>;
}

export function openOwnClient(baseUrl: string): OwnClient {
  const sessionManager = new Http2SessionManager(baseUrl);
  const transport = createGrpcTransport({ baseUrl, sessionManager });
  return {
    learningLog: createClient(LearningLogService, transport),
    health: createClient(Health, transport),
    [Symbol.dispose]: () => sessionManager.abort(),
  };
}
