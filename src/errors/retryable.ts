import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";

// Errors with a `google.rpc.RetryInfo` detail: the same call may succeed after the delay that it names.

/** Returns an UNAVAILABLE error: the database is unavailable, or this server is shutting down. */
export function unavailable(message: string, cause?: unknown): ConnectError {
  return retryable(message, Code.Unavailable, 1000, cause);
}

/** Returns the UNAVAILABLE error of calls that arrive while this server shuts down. */
export function shuttingDown(): ConnectError {
  return unavailable("the server is shutting down");
}

/** Returns a RESOURCE_EXHAUSTED error: the server or the database is too busy, or a lock blocks the call. */
export function overloaded(message: string, cause?: unknown): ConnectError {
  return retryable(message, Code.ResourceExhausted, 200, cause);
}

function retryable(message: string, code: Code, retryDelayMs: number, cause: unknown): ConnectError {
  const value = create(RetryInfoSchema, { retryDelay: durationFromMs(retryDelayMs) });
  return new ConnectError(message, code, undefined, [{ desc: RetryInfoSchema, value }], cause);
}
