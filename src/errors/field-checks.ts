import type { DescMessage } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { invalidArgument } from "./invalid-argument.ts";

// What the rules of the schema cannot say. Each throws INVALID_ARGUMENT with the field's name.

/** JSON can carry half of a surrogate pair, which no UTF-8 has: two learners must not become one by that. */
export function requireWellFormed(schema: DescMessage, fieldName: string, value: string): void {
  if (!value.isWellFormed()) {
    throw invalidArgument(schema, fieldName, "string.well_formed", "must be well-formed Unicode");
  }
}

/** The binary format can carry any number here: google/protobuf/timestamp.proto sets the limits. */
export function requireValidTimestamp(schema: DescMessage, fieldName: string, { nanos }: Timestamp): void {
  if (nanos < 0 || nanos > 999_999_999) {
    throw invalidArgument(schema, fieldName, "timestamp.nanos", "must have nanos from 0 to 999,999,999");
  }
}
