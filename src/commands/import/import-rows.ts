import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError } from "@connectrpc/connect";
import type { ImportEntriesResponse } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import type { Row } from "./read-rows.ts";
import { refusedEntries } from "./refused-entries.ts";
import { retryDelayMs } from "./retry-delay.ts";
import { type EntryOfLine, toBatches } from "./to-batches.ts";
import { UnacknowledgedBatches } from "./unacknowledged-batches.ts";

/** How an import is going, in rows. */
export interface ImportTally {
  created: number;
  duplicates: number;
  rejected: number;
}

/** What an import tells while it runs. */
export interface ImportEvents {
  /** A row was not recorded. */
  readonly onRejected: (line: number, reason: string) => void;
  /** The service cannot take it just now; the import waits and tries again. */
  readonly onRetry?: (reason: string) => void;
}

/** How long the service may acknowledge nothing: longer than its own time limit for a statement. */
const defaultTimeoutMs = 60_000;

/**
 * Records every row, and counts what became of it. Batches go over one stream; when that breaks, what is not
 * acknowledged goes over a new one.
 *
 * - An entry that the service refuses is a rejected row; the others of its batch are sent again.
 * - An error that passes by itself is waited for.
 * - Everything before a place where the file cannot be read any further is recorded.
 *
 * @throws ConnectError when the service cannot be reached, fails, or acknowledges nothing for too long, in which case
 * running again resumes; or whatever `rows` throws
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
      const refused = refusedEntries(cause, batches.first);
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
 * Sends what is left over one stream, and hears every acknowledgement of it.
 *
 * @throws ConnectError DEADLINE_EXCEEDED if nothing is acknowledged for too long
 */
async function sendBatches(
  client: Client<typeof LearningLogService>,
  batches: UnacknowledgedBatches,
  acknowledge: (response: ImportEntriesResponse) => void,
  timeoutMs: number,
): Promise<void> {
  const stream = new AbortController();
  const timer = setTimeout(() => {
    // While the file has nothing to send, as standard input may, there is nothing to answer.
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

/** Counts what became of a batch. A duplicate that is not the entry which is stored is recorded nowhere. */
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
    reject(duplicate.line, `request_id ${duplicate.entry.requestId} is known with another payload`);
  }
}
