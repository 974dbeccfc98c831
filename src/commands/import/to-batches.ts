import { create } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { ConnectError } from "@connectrpc/connect";
import { type CreateEntryRequest, CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { checkEntry } from "../../entries/check-entry.ts";
import type { Row } from "./read-rows.ts";

/** An entry to record, and the line of the file in which its row begins. */
export interface EntryOfLine {
  readonly line: number;
  readonly entry: CreateEntryRequest;
}

const batchRows = 500;

/**
 * Collects the valid rows into batches of 500. Rejects invalid rows by the same rules as the service.
 *
 * @param reject called for each invalid row, with the reason
 * @throws the error of `rows`, after a last batch with the rows before it
 */
export async function* toBatches(
  rows: AsyncIterable<Row>,
  reject: (line: number, reason: string) => void,
): AsyncGenerator<EntryOfLine[], void> {
  const validator = createValidator();
  let batch: EntryOfLine[] = [];
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const row of rows) {
      if ("reason" in row) {
        reject(row.line, row.reason);
        continue;
      }
      const entry = create(CreateEntryRequestSchema, row.entry);
      try {
        const { error } = validator.validate(CreateEntryRequestSchema, entry);
        if (error) throw error;
        checkEntry(CreateEntryRequestSchema, "", entry, Date.now());
      } catch (error) {
        reject(row.line, ConnectError.from(error).rawMessage);
        continue;
      }
      batch.push({ line: row.line, entry });
      if (batch.length === batchRows) {
        yield batch;
        batch = [];
      }
    }
  } catch (error) {
    failure = { error };
  }
  if (batch.length > 0) yield batch;
  if (failure) throw failure.error;
}
