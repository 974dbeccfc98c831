import { create } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";

/** An UNAVAILABLE error with a `google.rpc.RetryInfo` detail: the same call may succeed a little later. */
export function unavailable(message: string, cause?: unknown): ConnectError {
  const value = create(RetryInfoSchema, { retryDelay: durationFromMs(1000) });
  return new ConnectError(message, Code.Unavailable, undefined, [{ desc: RetryInfoSchema, value }], cause);
}
