import { randomUUID } from "node:crypto";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import type { Log } from "../telemetry/log.ts";
import { firstViolations } from "../validation/first-violations.ts";
import { withUnaryHooks } from "./unary/call/unary-hooks.ts";
import { mapErrors } from "./unary/connect-node/map-errors.ts";

/**
 * Hides unexpected errors from callers. An error that is not a ConnectError, or has the code INTERNAL or UNKNOWN, is
 * logged with a correlation id; the caller receives INTERNAL and the same id. A call that fails because it was
 * aborted, for example by a caller that disconnected, is not logged: it fails with the reason of the abort.
 */
export function createErrorInterceptor(log: Log): Interceptor {
  const interceptor: Interceptor = (next) => async (request) => {
    // Errors in the request messages of a stream are not this server's failure, whatever their code.
    const requestErrors = new WeakSet<ConnectError>();
    const toResponseError = (error: unknown): unknown => {
      if (error instanceof ConnectError && requestErrors.has(error)) return error;
      return responseError(error, request, log);
    };
    // If the connection breaks, Node's error arrives here before the signal aborts. It gets the code ABORTED.
    const toRequestError = (reason: unknown): ConnectError => {
      const error = ConnectError.from(reason, Code.Aborted);
      requestErrors.add(error);
      return error;
    };
    try {
      const passed = request.stream
        ? { ...request, message: mapErrors(request.message, toRequestError) }
        : request;
      const response = await next(passed);
      return response.stream
        ? { ...response, message: mapErrors(response.message, toResponseError) }
        : response;
    } catch (error) {
      throw toResponseError(error);
    }
  };
  return withUnaryHooks(interceptor, {
    replaceError: (error, context) => responseError(error, context, log),
  });
}

/** @param call its signal is expensive to create, so it is read only for an error */
function responseError(
  error: unknown,
  call: { readonly signal: AbortSignal; readonly url: string },
  log: Log,
): ConnectError {
  const { signal } = call;
  if (signal.aborted && isAbort(error, signal.reason)) return ConnectError.from(signal.reason);
  return publicError(error, log, call.url);
}

/** Whether a call failed only because it was aborted. */
function isAbort(error: unknown, reason: unknown): boolean {
  return error === reason || (error instanceof Error && error.name === "AbortError");
}

function publicError(error: unknown, log: Log, url: string): ConnectError {
  if (error instanceof ConnectError && error.code !== Code.Internal && error.code !== Code.Unknown) {
    return firstViolations(error);
  }
  const correlationId = randomUUID();
  // Without the query string: in a GET, it contains the whole request, including the user_id.
  log.error({ err: error, correlationId, url: url.split("?", 1)[0] }, "a call failed");
  return new ConnectError(`internal error ${correlationId}`, Code.Internal);
}
