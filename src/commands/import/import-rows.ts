import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { ImportEntriesResponse } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import type { Row } from "./read-rows.ts";
import { rejectedEntries } from "./rejected-entries.ts";
import { retryDelayMs } from "./retry-delay.ts";
import { type EntryOfLine, toBatches } from "./to-batches.ts";
import { UnacknowledgedBatches } from "./unacknowledged-batches.ts";

/** The number of rows with each outcome so far. */
export interface ImportTally {
  created: number;
  duplicates: number;
  rejected: number;
}

/** The callbacks of an import. */
export interface ImportEvents {
  /** Called for each row that is not recorded. */
  readonly onRejected: (line: number, reason: string) => void;
  /** Called after a transient error, before the import waits and retries. */
  readonly onRetry?: (reason: string) => void;
}

/** The longest time without an acknowledgement. It exceeds the service's time limit for a statement. */
const defaultTimeoutMs = 60_000;

/**
 * Records every row, and counts the outcomes. Sends the batches over one stream. When the stream breaks, sends the
 * unacknowledged batches over a new one.
 *
 * - If the service rejects an entry, its row counts as rejected, and the rest of the batch is sent again.
 * - After a transient error, the import waits and retries.
 * - If the file cannot be read to its end, the rows before the error are recorded.
 *
 * @param tally updated during the import
 * @param timeoutMs the longest time without an acknowledgement, in milliseconds
 * @throws ConnectError if the service cannot be reached, fails, or acknowledges nothing within the timeout. Importing
 * the same rows again resumes the import.
 * @throws the error of `rows`
 */
export async function importRows(
  client: Client<typeof LearningLogService>,
  rows: AsyncIterable<Row>,
  { onRejected, onRetry }: ImportEvents,
  tally: ImportTally,
  timeoutMs: number = defaultTimeoutMs,
): Promise<void> {
  const reject = (line: number, reason: string) => {
    tally.rejected += 1;
    onRejected(line, reason);
  };
  const batches = new UnacknowledgedBatches(toBatches(rows, reject));
  let wasReached = false;
  let failingSince: number | undefined;
  const acknowledge = (response: ImportEntriesResponse) => {
    count(batches.first, response, tally, reject);
    batches.acknowledge();
    wasReached = true;
    failingSince = undefined;
  };
  for (;;) {
    try {
      await sendBatches(client, batches, acknowledge, timeoutMs);
      break;
    } catch (cause) {
      if (!(cause instanceof ConnectError)) throw cause;
      const refused = rejectedEntries(cause, batches.first);
      if (refused.size > 0) {
        for (const [{ line }, reason] of refused) reject(line, reason);
        batches.drop(new Set(refused.keys()));
        continue;
      }
      failingSince ??= performance.now();
      const delayMs = retryDelayMs(cause, wasReached);
      if (delayMs === undefined || performance.now() + delayMs > failingSince + timeoutMs) throw cause;
      onRetry?.(cause.message);
      await sleep(delayMs);
    }
  }
  batches.throwIfUnread();
}

/**
 * Sends the remaining batches over one stream, and receives all acknowledgements.
 *
 * @throws ConnectError DEADLINE_EXCEEDED if nothing is acknowledged within the timeout
 */
async function sendBatches(
  client: Client<typeof LearningLogService>,
  batches: UnacknowledgedBatches,
  acknowledge: (response: ImportEntriesResponse) => void,
  timeoutMs: number,
): Promise<void> {
  const stream = new AbortController();
  const timer = setTimeout(() => {
    // While the source, such as standard input, has no rows to send, no acknowledgement is due.
    if (!batches.isAnswerDue) timer.refresh();
    else
      stream.abort(new ConnectError(`no answer within ${timeoutMs / 1000} seconds`, Code.DeadlineExceeded));
  }, timeoutMs);
  try {
    const requests = batches.send(stream.signal, () => timer.refresh());
    for await (const response of client.importEntries(requests, { signal: stream.signal })) {
      acknowledge(response);
      timer.refresh();
    }
    if (batches.first)
      throw new ConnectError("the stream ended before everything was acknowledged", Code.Internal);
  } finally {
    clearTimeout(timer);
    stream.abort();
  }
}

/**
 * Counts the outcomes of a batch. If a duplicate differs from the stored entry, its row counts as rejected.
 *
 * @throws ConnectError INTERNAL if the response does not cover the whole batch
 */
function count(
  batch: readonly EntryOfLine[] = [],
  { createdCount, duplicateCount, duplicates }: ImportEntriesResponse,
  tally: ImportTally,
  reject: (line: number, reason: string) => void,
): void {
  if (createdCount + duplicateCount !== batch.length) {
    const acknowledged = createdCount + duplicateCount;
    throw new ConnectError(
      `${acknowledged} entries of a batch of ${batch.length} are acknowledged`,
      Code.Internal,
    );
  }
  tally.created += createdCount;
  tally.duplicates += duplicateCount;
  for (const { index, conflict } of duplicates) {
    const duplicate = batch[index];
    if (!duplicate || !conflict || conflict.payloadMatches) continue;
    tally.duplicates -= 1;
    reject(
      duplicate.line,
      `request_id ${duplicate.entry.requestId} is already recorded with another payload`,
    );
  }
}
