import { create } from "@bufbuild/protobuf";
import { createValidator, type ValidationResult } from "@bufbuild/protovalidate";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BatchCreateEntriesRequestSchema,
  CreateEntryRequestSchema,
  ImportEntriesRequestSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import { createRequestValidator } from "../../src/validation/request-validator.ts";
import { effort, seed } from "../support/random.ts";

const ours = createRequestValidator();
const protovalidate = createValidator();

const uuid = fc.oneof(
  { weight: 9, arbitrary: fc.uuid() },
  fc.uuid().map((id) => id.toUpperCase()),
  fc.uuid().chain((id) => fc.constantFrom("", id.slice(1), `0${id}`, `${id}0`, `${id}\n`, `{${id}}`)),
  fc.tuple(fc.uuid(), fc.nat({ max: 35 }), fc.constantFrom("-", "0", "g", "G")).map(replaceAt),
);
const userId = fc.oneof(
  { weight: 9, arbitrary: fc.string({ minLength: 1, maxLength: 128, unit: "grapheme" }) },
  fc.constantFrom("", "\0", "mia\0", "\u{1f600}".repeat(128), "\u{1f600}".repeat(129)),
  fc.integer({ min: 126, max: 130 }).map((length) => "ä".repeat(length)),
);
const entry = fc.record(
  {
    requestId: uuid,
    userId,
    wordCount: fc.oneof(
      { weight: 9, arbitrary: fc.nat({ max: 2 ** 31 - 1 }) },
      fc.constantFrom(-1, -(2 ** 31)),
    ),
    onConflict: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 0, max: 2 }) },
      fc.constantFrom(-1, 3, 99),
    ),
  },
  { requiredKeys: ["requestId", "userId"] },
);

describe("the validator gives the same result as protovalidate for", () => {
  test.for([
    ["a batch", BatchCreateEntriesRequestSchema],
    ["a message of an import", ImportEntriesRequestSchema],
  ] as const)("%s", ([, schema]) => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 3 }), (entries) => {
        const request = create(schema, { entries });
        expect(verdict(ours.validate(schema, request))).toEqual(
          verdict(protovalidate.validate(schema, request)),
        );
      }),
      { numRuns: 2000 * effort, seed },
    );
  });

  test.for([0, 1, 1000, 1001])("a batch of %i entries", (count) => {
    const valid = { requestId: "3f2b8c1e-0000-4000-8000-000000000001", userId: "mia", wordCount: 0 };
    const request = create(BatchCreateEntriesRequestSchema, { entries: Array(count).fill(valid) });
    expect(verdict(ours.validate(BatchCreateEntriesRequestSchema, request))).toEqual(
      verdict(protovalidate.validate(BatchCreateEntriesRequestSchema, request)),
    );
  });

  test("a single entry", () => {
    fc.assert(
      fc.property(entry, (fields) => {
        const request = create(CreateEntryRequestSchema, fields);
        expect(verdict(ours.validate(CreateEntryRequestSchema, request))).toEqual(
          verdict(protovalidate.validate(CreateEntryRequestSchema, request)),
        );
      }),
      { numRuns: 2000 * effort, seed },
    );
  });
});

function verdict({ kind, error }: ValidationResult) {
  return { kind, message: error?.message };
}

/** Replaces one character of a text. Takes the text, the index of the character, and the replacement. */
function replaceAt([text, place, character]: [string, number, string]): string {
  return text.slice(0, place) + character + text.slice(place + 1);
}
