import { create } from "@bufbuild/protobuf";
import { createValidator } from "@bufbuild/protovalidate";
import { type Client, ConnectError } from "@connectrpc/connect";
import { CreateEntryRequestSchema, ImportEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { checkEntry } from "../check-entry.ts";
import type { Row } from "./read-rows.ts";

/** How an import is going, in rows. */
export interface ImportTally {
  created: number;
  duplicates: number;
  rejected: number;
}

const batchRows = 500;

/**
 * Records every row over one stream, and counts what became of it. An invalid row is found out here, before it is
 * sent, by the same rules as the service's.
 *
 * @param onRejected is told of each row that was not recorded, and why
 * @throws ConnectError when the service cannot be reached or fails, in which case running again resumes; or whatever
 * `rows` throws
 */
export async function importRows(
  client: Client<typeof LearningLogService>,
  rows: AsyncIterable<Row>,
  onRejected: (line: number, reason: string) => void,
  tally: ImportTally,
): Promise<void> {
  const reject = (line: number, reason: string) => {
    tally.rejected += 1;
    onRejected(line, reason);
  };
  let readFailure: unknown;
  async function* readable() {
    try {
      yield* rows;
    } catch (error) {
      readFailure = error;
      throw error;
    }
  }
  try {
    const requests = toBatches(readable(), reject);
    for await (const { createdCount, duplicateCount } of client.importEntries(requests)) {
      tally.created += createdCount;
      tally.duplicates += duplicateCount;
    }
  } catch (error) {
    // The client would report it as a failure of the call.
    throw readFailure ?? error;
  }
}

async function* toBatches(rows: AsyncIterable<Row>, reject: (line: number, reason: string) => void) {
  const validator = createValidator();
  let entries = [];
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
    entries.push(entry);
    if (entries.length === batchRows) {
      yield create(ImportEntriesRequestSchema, { entries });
      entries = [];
    }
  }
  if (entries.length > 0) yield create(ImportEntriesRequestSchema, { entries });
}
