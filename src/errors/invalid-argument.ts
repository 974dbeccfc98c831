import { create, type DescMessage } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { FieldPathElementSchema, ViolationsSchema } from "#gen/buf/validate/validate_pb.js";

/**
 * An INVALID_ARGUMENT error with a `buf.validate.Violations` detail, shaped as the one for a rule of the schema:
 * for what only code can check.
 *
 * @param schema the request's message
 * @param fieldName the field, as the proto names it
 * @param ruleId a name for the rule, such as `string.well_formed`
 * @param message what is wrong, for a person to read: "must be …"
 */
export function invalidArgument(
  schema: DescMessage,
  fieldName: string,
  ruleId: string,
  message: string,
): ConnectError {
  const field = schema.fields.find(({ name }) => name === fieldName);
  if (field === undefined) throw new Error(`${schema.typeName} has no field ${fieldName}`);
  const element = create(FieldPathElementSchema, {
    fieldNumber: field.number,
    fieldName,
    fieldType: field.proto.type,
  });
  const value = create(ViolationsSchema, {
    violations: [{ ruleId, message, field: { elements: [element] } }],
  });
  return new ConnectError(`${fieldName}: ${message} [${ruleId}]`, Code.InvalidArgument, undefined, [
    { desc: ViolationsSchema, value },
  ]);
}
