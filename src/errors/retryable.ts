import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";

// Errors with a `google.rpc.RetryInfo` detail: the same call may succeed a little later.

/** UNAVAILABLE: what is needed is away, or this server is shutting down. */
export function unavailable(message: string, cause?: unknown): ConnectError {
  return retryable(message, Code.Unavailable, 1000, cause);
}

/** RESOURCE_EXHAUSTED: there is more to do than can be done just now. */
export function overloaded(message: string, cause?: unknown): ConnectError {
  return retryable(message, Code.ResourceExhausted, 200, cause);
}

function retryable(message: string, code: Code, retryDelayMs: number, cause: unknown): ConnectError {
  const value = create(RetryInfoSchema, { retryDelay: durationFromMs(retryDelayMs) });
  return new ConnectError(message, code, undefined, [{ desc: RetryInfoSchema, value }], cause);
}
