import { randomUUID } from "node:crypto";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { Log } from "../telemetry/log.ts";

/**
 * What is no ConnectError reaches the caller as INTERNAL with a correlation id, and the log with the same id and
 * everything that is known of it. A call that ends because its caller is gone is no failure.
 */
export function createErrorInterceptor(log: Log): Interceptor {
  return (next) => async (request) => {
    try {
      return await next(request);
    } catch (error) {
      if (request.signal.aborted && error === request.signal.reason) throw ConnectError.from(error);
      throw publicError(error, log, request.url);
    }
  };
}

function publicError(error: unknown, log: Log, url: string): ConnectError {
  if (error instanceof ConnectError && error.code !== Code.Internal && error.code !== Code.Unknown) {
    return error;
  }
  const correlationId = randomUUID();
  // Without the query: that of a GET is the whole request, with the learner's name.
  log.error({ err: error, correlationId, url: url.split("?", 1)[0] }, "a call failed");
  return new ConnectError(`internal error ${correlationId}`, Code.Internal);
}
