import { isMessage, type Message, type MessageValidType } from "@bufbuild/protobuf";
import { createValidator, type Validator } from "@bufbuild/protovalidate";
import {
  BatchCreateEntriesRequestSchema,
  ConflictPolicy,
  type CreateEntryRequest,
  CreateEntryRequestSchema,
  ImportEntriesRequestSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";

/**
 * Validates requests by the rules of their schema. Entries that are clearly valid skip protovalidate, which records the
 * path to each field that it checks: for a batch, that is most of the garbage of the call.
 */
export function createRequestValidator(): Validator {
  const validator = createValidator();
  return {
    validate(schema, message) {
      if (!hasOnlyPlainlyValidEntries(message)) return validator.validate(schema, message);
      // The cast is safe: the message follows the rules, and its type states nothing more.
      const valid = message as MessageValidType<typeof schema>;
      return { kind: "valid", message: valid, error: undefined, violations: undefined };
    },
  };
}

/** True for nearly all valid requests that record entries; never for an invalid one. */
function hasOnlyPlainlyValidEntries(message: Message): boolean {
  if (isMessage(message, CreateEntryRequestSchema)) return isPlainlyValid(message);
  const isBatch =
    isMessage(message, BatchCreateEntriesRequestSchema) || isMessage(message, ImportEntriesRequestSchema);
  if (!isBatch) return false;
  const { entries } = message;
  return entries.length >= 1 && entries.length <= 1000 && entries.every(isPlainlyValid);
}

function isPlainlyValid({ requestId, userId, wordCount, onConflict }: CreateEntryRequest): boolean {
  return (
    uuid.test(requestId) &&
    userId.length >= 1 &&
    // In UTF-16 code units. The rule counts code points, which are never more.
    userId.length <= 128 &&
    !userId.includes("\0") &&
    wordCount !== undefined &&
    wordCount >= 0 &&
    onConflict in ConflictPolicy
  );
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
