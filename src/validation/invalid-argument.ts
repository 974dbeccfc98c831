import type { DescMessage } from "@bufbuild/protobuf";
import { parsePath } from "@bufbuild/protobuf/reflect";
import { Violation, violationsToProto } from "@bufbuild/protovalidate";
import { Code, ConnectError } from "@connectrpc/connect";

/**
 * Returns an INVALID_ARGUMENT error with a `buf.validate.Violations` detail, in the same form as for a violated rule
 * of the schema. It is for rules that code checks instead.
 *
 * @param schema the request's message
 * @param path the field, as in `entries[3].word_count`
 * @param ruleId a name for the rule, such as `string.well_formed`
 * @param message a description for people: "must be …"
 */
export function invalidArgument(
  schema: DescMessage,
  path: string,
  ruleId: string,
  message: string,
): ConnectError {
  const violation = new Violation(message, ruleId, parsePath(schema, path), [], false);
  const [value, desc] = violationsToProto([violation]);
  return new ConnectError(`${path}: ${message} [${ruleId}]`, Code.InvalidArgument, undefined, [
    { desc, value },
  ]);
}
