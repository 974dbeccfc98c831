import type { ConnectRouter, ServiceImpl } from "@connectrpc/connect";
import type { ConnectNodeAdapterOptions } from "@connectrpc/connect-node";
import { onTestFinished } from "vitest";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { listen } from "../../../src/transport/http-server.ts";
import type { Listeners } from "../../../src/transport/unary/http/listeners.ts";

type Adapter = (options: ConnectNodeAdapterOptions) => Listeners;

/** The handlers of a test, for methods of LearningLogService. */
export type Methods = Partial<ServiceImpl<typeof LearningLogService>>;

/** Serves both versions of HTTP on one port until the test finishes. @returns the base URL */
export async function serve(
  adapter: Adapter,
  methods: Methods,
  options: Omit<ConnectNodeAdapterOptions, "routes"> = {},
): Promise<string> {
  const routes = (router: ConnectRouter) => {
    router.service(LearningLogService, methods);
  };
  const server = await listen(adapter({ ...options, routes }), "127.0.0.1", 0);
  onTestFinished(() => server.close(0));
  return `http://127.0.0.1:${server.address.port}`;
}

/** Returns the path of a method's URL. */
export function pathOf(method: "CreateEntry" | "GetSummary" | "ImportEntries"): string {
  return `/${LearningLogService.typeName}/${method}`;
}
