import { create } from "@bufbuild/protobuf";
import { type ImportEntriesRequest, ImportEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { EntryOfLine } from "./to-batches.ts";

/** The service takes a batch after it has acknowledged the last one; more of them only wait on the way. */
const maxBatches = 8;

/**
 * The batches of an import that the service has not acknowledged yet, in the order of the file. When a stream breaks,
 * the next one begins with them; sending them again is safe.
 *
 *     read from the file ──send()──> unacknowledged ──acknowledge()──> gone
 */
export class UnacknowledgedBatches {
  readonly #source: AsyncIterator<EntryOfLine[], void>;
  readonly #batches: EntryOfLine[][] = [];
  /** The batch that is being read: a stream that breaks meanwhile leaves it to the next one. */
  #bodyRead: Promise<IteratorResult<EntryOfLine[], void>> | undefined;
  #isRead = false;
  #readFailure: { readonly error: unknown } | undefined;
  #acknowledged = Promise.withResolvers<void>();

  constructor(source: AsyncIterator<EntryOfLine[], void>) {
    this.#source = source;
  }

  /** The batch that the service acknowledges next. */
  get first(): EntryOfLine[] | undefined {
    return this.#batches[0];
  }

  /** Whether the service has something to answer: a batch, or the end of the file. */
  get isAnswerDue(): boolean {
    return this.#isRead || this.#batches.length > 0;
  }

  /**
   * What one stream sends: first what the last one left, then the rest of the file, up to its end or to where it cannot be
   * read any further.
   *
   * @param onSend is called before each batch
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
      this.#bodyRead = undefined;
      this.#batches.push(batch);
      onSend();
      yield toRequest(batch);
    }
  }

  acknowledge(): void {
    this.#batches.shift();
    this.#acknowledged.resolve();
    this.#acknowledged = Promise.withResolvers();
  }

  /** Takes entries out of the first batch. */
  drop(entries: ReadonlySet<EntryOfLine>): void {
    const kept = this.#batches.shift()?.filter((entry) => !entries.has(entry)) ?? [];
    if (kept.length > 0) this.#batches.unshift(kept);
  }

  /** @throws what kept the file from being read to its end, if anything did */
  throwIfUnread(): void {
    if (this.#readFailure) throw this.#readFailure.error;
  }

  async #read(): Promise<EntryOfLine[] | undefined> {
    try {
      this.#bodyRead ??= this.#source.next();
      const { done, value } = await this.#bodyRead;
      if (!done) return value;
    } catch (error) {
      this.#readFailure = { error };
    }
    this.#isRead = true;
    return undefined;
  }
}

function toRequest(batch: readonly EntryOfLine[]): ImportEntriesRequest {
  return create(ImportEntriesRequestSchema, { entries: batch.map(({ entry }) => entry) });
}
