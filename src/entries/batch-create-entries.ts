import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type BatchCreateEntriesRequest,
  BatchCreateEntriesRequestSchema,
  type BatchCreateEntriesResponse,
  BatchCreateEntriesResponseSchema,
  type CreateEntryRequest,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import type { CallContext } from "../call-context.ts";
import { checkEntry } from "./check-entry.ts";
import { requestIdConflict } from "./conflict.ts";
import { newEntry } from "./entry.ts";
import type { EntryWriter } from "./entry-writer.ts";

/**
 * Records a batch of entries: all of them or, if one is invalid or the insert fails, none. Reports duplicates in the
 * response.
 *
 * @param request valid by the rules of the schema
 * @throws ConnectError INVALID_ARGUMENT with the path of the entry's invalid field
 * @throws as {@link EntryWriter.recordBatch} does
 */
export async function batchCreateEntries(
  { writer }: { readonly writer: EntryWriter },
  request: BatchCreateEntriesRequest,
  { signal }: CallContext,
): Promise<BatchCreateEntriesResponse> {
  const result = await recordBatch(writer, BatchCreateEntriesRequestSchema, request.entries, signal);
  return create(BatchCreateEntriesResponseSchema, result);
}

/** @param schema the request message that contains `entries` */
export async function recordBatch(
  writer: EntryWriter,
  schema: DescMessage,
  requests: readonly CreateEntryRequest[],
  signal: AbortSignal,
) {
  const nowMs = Date.now();
  const entries = requests.map((request, index) => {
    checkEntry(schema, `entries[${index}].`, request, nowMs);
    return newEntry(request, nowMs);
  });
  const results = await writer.recordBatch(entries, signal);
  const duplicates = results.flatMap(({ stored, isNew }, index) => {
    const sent = entries[index];
    return isNew || !sent ? [] : { index, conflict: requestIdConflict(sent, stored) };
  });
  return {
    createdCount: entries.length - duplicates.length,
    duplicateCount: duplicates.length,
    duplicates,
  } satisfies MessageInitShape<typeof BatchCreateEntriesResponseSchema>;
}
