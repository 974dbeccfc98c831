import type { DescMessage, Message } from "@bufbuild/protobuf";
import { type Validator, violationsToProto } from "@bufbuild/protovalidate";
import { Code, ConnectError, type Interceptor } from "@connectrpc/connect";
import { createValidateInterceptor } from "@connectrpc/validate";
import { withUnaryHooks } from "./unary/call/unary-hooks.ts";

/**
 * Checks requests against the rules of their schema, as `@connectrpc/validate` does. The lean path calls a hook instead of
 * the interceptor.
 */
export function createValidationInterceptor(validator: Validator): Interceptor {
  return withUnaryHooks(createValidateInterceptor({ validator }), {
    before: (request, { method }) => validate(validator, method.input, request),
  });
}

/** @throws ConnectError INVALID_ARGUMENT with `buf.validate.Violations` as its detail */
function validate(validator: Validator, schema: DescMessage, request: Message): void {
  const { kind, error, violations } = validator.validate(schema, request);
  if (kind === "valid") return;
  const details = [];
  if (violations !== undefined) {
    const [value, desc] = violationsToProto(violations);
    details.push({ desc, value });
  }
  throw new ConnectError(error.message, Code.InvalidArgument, undefined, details, error);
}
