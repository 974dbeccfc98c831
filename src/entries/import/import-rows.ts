import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import type { Row } from "./read-rows.ts";

/** How an import is going. */
export interface ImportTally {
  created: number;
  duplicates: number;
  rejected: number;
}

/** How many calls are under way at once. */
const callsInFlight = 64;

/**
 * Records every row, and counts what became of it.
 *
 * @param onRejected is told of each row that was not recorded, and why
 * @throws ConnectError when the service cannot be reached or fails; running again resumes
 */
export async function importRows(
  client: Client<typeof LearningLogService>,
  rows: AsyncIterable<Row>,
  onRejected: (line: number, reason: string) => void,
  tally: ImportTally,
): Promise<void> {
  const record = async (row: Row) => {
    if ("reason" in row) return reject(row.line, row.reason);
    try {
      await client.createEntry(row.entry);
      tally.created += 1;
    } catch (error) {
      const { code, rawMessage } = ConnectError.from(error);
      if (code === Code.AlreadyExists) tally.duplicates += 1;
      else if (code === Code.InvalidArgument) reject(row.line, rawMessage);
      else throw error;
    }
  };
  const reject = (line: number, reason: string) => {
    tally.rejected += 1;
    onRejected(line, reason);
  };

  const iterator = rows[Symbol.asyncIterator]();
  const takeTurns = async () => {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) await record(next.value);
  };
  await Promise.all(Array.from({ length: callsInFlight }, takeTurns));
}
