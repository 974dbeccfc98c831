import { create } from "@bufbuild/protobuf";
import { type ImportEntriesRequest, ImportEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { EntryOfLine } from "./to-batches.ts";

/** The service reads a batch after it has acknowledged the previous one, so further batches only wait in buffers. */
const maxBatches = 8;

/**
 * The batches of an import that the service has not acknowledged yet, in the order of the file. When a stream breaks,
 * the next stream sends them first. Sending them again is safe, because an entry is recorded once.
 *
 *     read from the file ──send()──> unacknowledged ──acknowledge()──> removed
 */
export class UnacknowledgedBatches {
  readonly #source: AsyncIterator<EntryOfLine[], void>;
  readonly #batches: EntryOfLine[][] = [];
  /** The pending read of the next batch. If the stream breaks meanwhile, the next stream uses its result. */
  #pendingRead: Promise<IteratorResult<EntryOfLine[], void>> | undefined;
  /** Whether the source has ended or failed. */
  #isSourceDone = false;
  #readFailure: { readonly error: unknown } | undefined;
  #acknowledged = Promise.withResolvers<void>();

  constructor(source: AsyncIterator<EntryOfLine[], void>) {
    this.#source = source;
  }

  /** The next batch that the service acknowledges. */
  get first(): EntryOfLine[] | undefined {
    return this.#batches[0];
  }

  /** Whether the service has to respond: to a batch, or to the end of the file. */
  get isAnswerDue(): boolean {
    return this.#isSourceDone || this.#batches.length > 0;
  }

  /**
   * Yields the requests of one stream: first the batches that the previous stream left unacknowledged, then the rest of
   * the file, up to its end or the first read error.
   *
   * @param signal ends the requests when the stream ends
   * @param onSend called before each request
   */
  async *send(signal: AbortSignal, onSend: () => void): AsyncIterable<ImportEntriesRequest> {
    for (const batch of [...this.#batches]) {
      onSend();
      yield toRequest(batch);
    }
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    while (!signal.aborted) {
      if (this.#batches.length >= maxBatches) {
        await Promise.race([this.#acknowledged.promise, aborted]);
        continue;
      }
      const batch = await this.#read();
      if (signal.aborted || batch === undefined) return;
      this.#pendingRead = undefined;
      this.#batches.push(batch);
      onSend();
      yield toRequest(batch);
    }
  }

  /** Removes the first batch. */
  acknowledge(): void {
    this.#batches.shift();
    this.#acknowledged.resolve();
    this.#acknowledged = Promise.withResolvers();
  }

  /** Removes entries from the first batch. */
  drop(entries: ReadonlySet<EntryOfLine>): void {
    const kept = this.#batches.shift()?.filter((entry) => !entries.has(entry)) ?? [];
    if (kept.length > 0) this.#batches.unshift(kept);
  }

  /** @throws the error that ended the reading before the end of the file, if there was one */
  throwIfUnread(): void {
    if (this.#readFailure) throw this.#readFailure.error;
  }

  async #read(): Promise<EntryOfLine[] | undefined> {
    try {
      this.#pendingRead ??= this.#source.next();
      const { done, value } = await this.#pendingRead;
      if (!done) return value;
    } catch (error) {
      this.#readFailure = { error };
    }
    this.#isSourceDone = true;
    return undefined;
  }
}

function toRequest(batch: readonly EntryOfLine[]): ImportEntriesRequest {
  return create(ImportEntriesRequestSchema, { entries: batch.map(({ entry }) => entry) });
}
