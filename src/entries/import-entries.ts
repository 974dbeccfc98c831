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
 * Records a stream of batches, and acknowledges each after its commit. The next batch is not read before the last one
 * is acknowledged, so a client that is too fast is held back by the flow control of HTTP/2.
 *
 * @param requests valid by the rules of the schema
 * @throws ConnectError INVALID_ARGUMENT with the path of the entry's field; what was acknowledged stands
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
