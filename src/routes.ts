import type { ConnectRouter } from "@connectrpc/connect";
import type pg from "pg";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { file_google_rpc_error_details } from "#gen/google/rpc/error_details_pb.js";
import { Health } from "#gen/health/v1/health_pb.js";
import { createEntry } from "./entries/create-entry.ts";
import { getSummary } from "./summaries/get-summary.ts";
import { createHealthService } from "./transport/health.ts";
import type { Readiness } from "./transport/readiness.ts";
import { serveReflection } from "./transport/reflection.ts";

/** Every service and method, and what answers it. */
export function createRoutes(pool: pg.Pool, readiness: Readiness): (router: ConnectRouter) => void {
  return (router) => {
    router.service(LearningLogService, {
      createEntry: (request) => createEntry(pool, request),
      getSummary: (request, { signal }) => getSummary(pool, request, signal),
    });
    router.service(Health, createHealthService(readiness, [LearningLogService.typeName]));
    serveReflection(router, [LearningLogService, Health], [file_google_rpc_error_details]);
  };
}
