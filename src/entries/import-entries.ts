import { create } from "@bufbuild/protobuf";
import {
  type ImportEntriesRequest,
  ImportEntriesRequestSchema,
  type ImportEntriesResponse,
  ImportEntriesResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import type { CallContext } from "../call-context.ts";
import { recordBatch } from "./batch-create-entries.ts";
import type { EntryWriter } from "./entry-writer.ts";

/**
 * Records a stream of batches, and acknowledges each after its commit. Reads the next batch only after the previous one
 * is acknowledged, so HTTP/2 flow control slows down a client that sends too fast.
 *
 * @param requests valid by the rules of the schema
 * @throws ConnectError INVALID_ARGUMENT with the path of the entry's invalid field; acknowledged batches stay recorded
 * @throws as {@link EntryWriter.recordBatch} does
 */
export async function* importEntries(
  { writer }: { readonly writer: EntryWriter },
  requests: AsyncIterable<ImportEntriesRequest>,
  { signal }: CallContext,
): AsyncIterable<ImportEntriesResponse> {
  for await (const { entries } of requests) {
    const result = await recordBatch(writer, ImportEntriesRequestSchema, entries, signal);
    yield create(ImportEntriesResponseSchema, result);
  }
}
