import { ConnectError } from "@connectrpc/connect";
import { type FieldPath, ViolationsSchema } from "#gen/buf/validate/validate_pb.js";
import { type RequestIdConflict, RequestIdConflictSchema } from "#gen/dailyaggregator/v1/entry_pb.js";

/** The error with which a call fails. @throws if it succeeds */
export async function failureOf(call: Promise<unknown>): Promise<ConnectError> {
  return ConnectError.from(await rejectionOf(call));
}

/** The reason with which a call rejects. @throws if it succeeds */
export async function rejectionOf(call: Promise<unknown>): Promise<unknown> {
  const outcome = await call.then(
    (answer) => ({ answer }),
    (error: unknown) => ({ error }),
  );
  if ("error" in outcome) return outcome.error;
  throw new Error(`the call succeeded: ${JSON.stringify(outcome.answer, bigintsAsText)}`);
}

/** The RequestIdConflict detail of an error. */
export function conflictOf(error: ConnectError): RequestIdConflict | undefined {
  return error.findDetails(RequestIdConflictSchema)[0];
}

/** The paths of the fields in the Violations detail of an error, such as `entries[3].word_count`. */
export function violatedFields(error: ConnectError): string[] {
  return error
    .findDetails(ViolationsSchema)
    .flatMap(({ violations }) => violations.map(({ field }) => (field ? pathText(field) : "")));
}

function pathText({ elements }: FieldPath): string {
  return elements
    .map(({ fieldName, subscript }) => fieldName + (subscript.case === "index" ? `[${subscript.value}]` : ""))
    .join(".");
}

function bigintsAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
