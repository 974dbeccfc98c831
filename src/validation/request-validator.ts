import { isMessage, type Message, type MessageValidType } from "@bufbuild/protobuf";
import { createValidator, type Validator } from "@bufbuild/protovalidate";
import {
  BatchCreateEntriesRequestSchema,
  ConflictPolicy,
  type CreateEntryRequest,
  ImportEntriesRequestSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";

/**
 * Validates any request by the rules of its schema. protovalidate keeps the path to each field that it looks at, for a
 * batch of entries most of the garbage of the call; so a batch that is valid beyond doubt does not get there.
 */
export function createRequestValidator(): Validator {
  const validator = createValidator();
  return {
    validate(schema, message) {
      if (!isPlainlyValidBatch(message)) return validator.validate(schema, message);
      // It keeps the rules, which is all that its type says of a valid message.
      const valid = message as MessageValidType<typeof schema>;
      return { kind: "valid", message: valid, error: undefined, violations: undefined };
    },
  };
}

/** Never true of a batch that breaks a rule of its schema; nearly always of one that keeps them. */
function isPlainlyValidBatch(message: Message): boolean {
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
    // Of UTF-16; the rule counts code points, which are never more.
    userId.length <= 128 &&
    !userId.includes("\0") &&
    wordCount !== undefined &&
    wordCount >= 0 &&
    onConflict in ConflictPolicy
  );
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
