import { create, toBinary } from "@bufbuild/protobuf";
import { ViolationSchema, ViolationsSchema } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { ConnectError } from "@connectrpc/connect";

/** The maximum size of an error's violations, in bytes: gRPC sends them in headers, of which clients accept 8 KiB. */
const maxBytes = 3_600;

/**
 * Limits the size of an error, because a batch can have thousands of violations.
 *
 * @returns the error itself if its violations fit into {@link maxBytes}; otherwise one with only the first of them,
 *   whose message states how many there are, and how many the details have
 */
export function firstViolations(error: ConnectError): ConnectError {
  const [all] = error.findDetails(ViolationsSchema);
  if (all === undefined) return error;
  let bytes = 0;
  const end = all.violations.findIndex((violation) => {
    bytes += toBinary(ViolationSchema, violation).byteLength + 3;
    return bytes > maxBytes;
  });
  if (end < 0) return error;
  const value = create(ViolationsSchema, { violations: all.violations.slice(0, end) });
  const message = `${error.rawMessage}; the details have the first ${end}`;
  return new ConnectError(
    message,
    error.code,
    error.metadata,
    [{ desc: ViolationsSchema, value }],
    error.cause,
  );
}
