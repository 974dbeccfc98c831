import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectError } from "@connectrpc/connect";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";

const defaultDelayMs = 1000;

/**
 * How long to wait before the same batches are sent again; undefined if that is no use.
 *
 * @param wasReached whether the service has acknowledged anything: if not, its address may be wrong
 */
export function retryDelayMs(error: ConnectError, wasReached: boolean): number | undefined {
  const [retryInfo] = error.findDetails(RetryInfoSchema);
  if (retryInfo) return retryInfo.retryDelay ? durationMs(retryInfo.retryDelay) : defaultDelayMs;
  return wasReached && connectionCodes.includes(error.code) ? defaultDelayMs : undefined;
}

/** There is no connection, it broke, or the service cut off the stream: it may be starting again. */
const connectionCodes = [Code.Unavailable, Code.Aborted, Code.Canceled];
