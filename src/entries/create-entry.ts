import { create } from "@bufbuild/protobuf";
import {
  ConflictPolicy,
  type CreateEntryRequest,
  CreateEntryRequestSchema,
  type CreateEntryResponse,
  CreateEntryResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import type { CallContext } from "../call-context.ts";
import { checkEntry } from "./check-entry.ts";
import { alreadyExists } from "./conflict.ts";
import { entryMessage, newEntry } from "./entry.ts";
import type { EntryWriter } from "./entry-writer.ts";

/**
 * Records one entry. Returns after its commit.
 *
 * @param request valid by the rules of the schema
 * @param context aborting its signal withdraws the entry if it was not sent to the database yet; after that, the entry
 * may be recorded all the same
 * @throws ConnectError ALREADY_EXISTS if the request_id is known, unless the request asks to ignore that and the stored
 * entry belongs to the same learner
 * @throws as {@link checkEntry} and {@link EntryWriter.record} do
 */
export async function createEntry(
  { writer }: { readonly writer: EntryWriter },
  request: CreateEntryRequest,
  context: CallContext,
): Promise<CreateEntryResponse> {
  const nowMs = Date.now();
  checkEntry(CreateEntryRequestSchema, "", request, nowMs);
  const entry = newEntry(request, nowMs);
  const { stored, isNew } = await writer.record(entry, context);
  const mayIgnore = request.onConflict === ConflictPolicy.IGNORE && stored.userId === entry.userId;
  if (!isNew && !mayIgnore) throw alreadyExists(entry, stored);
  return create(CreateEntryResponseSchema, { entry: entryMessage(stored), alreadyExisted: !isNew });
}
