import type { ConnectRouter } from "@connectrpc/connect";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { alreadyExists } from "../../../src/entries/conflict.ts";
import { newEntry } from "../../../src/entries/entry.ts";
import { Readiness } from "../../../src/health/readiness.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createErrorInterceptor } from "../../../src/transport/error-interceptor.ts";
import { listen } from "../../../src/transport/http-server.ts";
import { createListeners } from "../../../src/transport/request-listeners.ts";
import { createValidationInterceptor } from "../../../src/transport/validation-interceptor.ts";
import { createRequestValidator } from "../../../src/validation/request-validator.ts";

// The rival of retry-storm, in a separate process. It has the service's port, interceptors and validation, and answers
// with the same error and details, but neither stores nor looks up any entry.

const routes = (router: ConnectRouter) => {
  router.service(LearningLogService, {
    createEntry(request) {
      const entry = newEntry(request, Date.now());
      throw alreadyExists(entry, { ...entry, createTime: entry.timestamp });
    },
  });
};
const log = createLog("error");
const listeners = createListeners({
  routes,
  interceptors: [createErrorInterceptor(log), createValidationInterceptor(createRequestValidator())],
  readiness: new Readiness(async () => undefined),
  about: "",
  corsOrigins: [],
  unaryPath: "lean",
});
const port = await listen(listeners, "127.0.0.1", 0);
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${port.address.port}` })}\n`);
process.on("SIGTERM", () => process.exit(0));
