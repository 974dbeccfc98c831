import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";

const defaultDelayMs = 1000;

/**
 * Returns how long to wait before sending the same batches again, in milliseconds; undefined if the error is not
 * transient.
 *
 * @param wasReached whether the service has acknowledged anything. If not, its address may be wrong.
 */
export function retryDelayMs(error: ConnectError, wasReached: boolean): number | undefined {
  const [retryInfo] = error.findDetails(RetryInfoSchema);
  if (retryInfo) return retryInfo.retryDelay ? durationMs(retryInfo.retryDelay) : defaultDelayMs;
  return wasReached && connectionCodes.includes(error.code) ? defaultDelayMs : undefined;
}

/** There is no connection, the connection broke, or the service aborted the stream. It may be restarting. */
const connectionCodes = [Code.Unavailable, Code.Aborted, Code.Canceled];
