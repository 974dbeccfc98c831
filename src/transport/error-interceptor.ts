import { randomUUID } from "node:crypto";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { Log } from "../telemetry/log.ts";
import { firstViolations } from "../validation/first-violations.ts";

/**
 * What is no ConnectError reaches the caller as INTERNAL with a correlation id, and the log with the same id and
 * everything that is known of it. A call that ends because its caller is gone is no failure.
 */
export function createErrorInterceptor(log: Log): Interceptor {
  return (next) => async (request) => {
    const { signal, url } = request;
    // What is wrong with the messages of a stream is not this server's failure, whatever its code.
    const ofRequest = new WeakSet<ConnectError>();
    const publish = (error: unknown): unknown => {
      if (error instanceof ConnectError && ofRequest.has(error)) return error;
      if (signal.aborted && isOfAbort(error, signal.reason)) return ConnectError.from(signal.reason);
      return publicError(error, log, url);
    };
    // Node's own error says that the connection broke, before the signal does.
    const note = (reason: unknown): ConnectError => {
      const error = ConnectError.from(reason, Code.Aborted);
      ofRequest.add(error);
      return error;
    };
    try {
      const passed = request.stream ? { ...request, message: mapErrors(request.message, note) } : request;
      const response = await next(passed);
      return response.stream ? { ...response, message: mapErrors(response.message, publish) } : response;
    } catch (error) {
      throw publish(error);
    }
  };
}

/** Whether a call failed only because it was aborted. */
function isOfAbort(error: unknown, reason: unknown): boolean {
  return error === reason || (error instanceof Error && error.name === "AbortError");
}

async function* mapErrors<Message>(
  messages: AsyncIterable<Message>,
  map: (error: unknown) => unknown,
): AsyncIterable<Message> {
  try {
    yield* messages;
  } catch (error) {
    throw map(error);
  }
}

function publicError(error: unknown, log: Log, url: string): ConnectError {
  if (error instanceof ConnectError && error.code !== Code.Internal && error.code !== Code.Unknown) {
    return firstViolations(error);
  }
  const correlationId = randomUUID();
  // Without the query: that of a GET is the whole request, with the learner's name.
  log.error({ err: error, correlationId, url: url.split("?", 1)[0] }, "a call failed");
  return new ConnectError(`internal error ${correlationId}`, Code.Internal);
}
