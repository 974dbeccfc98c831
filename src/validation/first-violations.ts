import { create, toBinary } from "@bufbuild/protobuf";
import { ViolationSchema, ViolationsSchema } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { ConnectError } from "@connectrpc/connect";

/** How many bytes of violations an error has: gRPC sends them in headers, of which clients take 8 KiB. */
const maxBytes = 3_600;

/**
 * @returns the error, with no more violations than find room: a batch can have thousands. Its message says how many there
 *   are.
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
