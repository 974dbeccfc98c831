import { ConnectError, type Interceptor } from "@connectrpc/connect";
import { blameSender, boundError } from "../call/bounded-error.ts";
import { mapErrors } from "./map-errors.ts";

/**
 * Limits the size of the errors of delegated calls. If a message of a stream cannot be decoded, the error is
 * INVALID_ARGUMENT.
 */
export const guardErrors: Interceptor = (next) => async (request) => {
  try {
    const passed = request.stream ? { ...request, message: mapErrors(request.message, blame) } : request;
    const response = await next(passed);
    return response.stream ? { ...response, message: mapErrors(response.message, bound) } : response;
  } catch (error) {
    throw bound(error);
  }
};

function blame(error: unknown): unknown {
  return error instanceof ConnectError ? blameSender(error) : error;
}

function bound(error: unknown): unknown {
  return error instanceof ConnectError ? boundError(error) : error;
}
