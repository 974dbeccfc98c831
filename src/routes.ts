import type { ConnectRouter } from "@connectrpc/connect";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { GetSummaryResponseSchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { file_google_rpc_error_details } from "#gen/google/rpc/error_details_pb.js";
import { Health } from "#gen/health/v1/health_pb.js";
import type { LearnerChanges } from "./changes/learner-changes.ts";
import type { Pools } from "./database/pools.ts";
import { batchCreateEntries } from "./entries/batch-create-entries.ts";
import { createEntry } from "./entries/create-entry.ts";
import { createDeletionRetry, deleteEntry } from "./entries/delete-entry.ts";
import { deleteUserEntries } from "./entries/delete-user-entries.ts";
import type { EntryWriter } from "./entries/entry-writer.ts";
import { importEntries } from "./entries/import-entries.ts";
import { listEntries } from "./entries/list-entries.ts";
import type { RecentEntries } from "./entries/recent-entries.ts";
import { createHealthService } from "./health/health-service.ts";
import type { Readiness } from "./health/readiness.ts";
import { serveReflection } from "./reflection/reflection.ts";
import type { Calendars } from "./summaries/calendars.ts";
import { getSummary } from "./summaries/get-summary.ts";
import type { SummaryFeeds } from "./summaries/summary-feeds.ts";
import { SummaryMemo } from "./summaries/summary-memo.ts";
import { watchSummary } from "./summaries/watch-summary.ts";
import { EncodedMessage } from "./transport/unary/messages/encoded-message.ts";

/** A summary in the form in which it is memoized. */
export type EncodedSummary = EncodedMessage<typeof GetSummaryResponseSchema>;

/** What the handlers use. */
interface Dependencies {
  readonly pools: Pools;
  readonly changes: LearnerChanges;
  readonly recent: RecentEntries;
  readonly writer: EntryWriter;
  readonly calendars: Calendars;
  readonly memo: SummaryMemo<EncodedSummary>;
  readonly feeds: SummaryFeeds;
  readonly readiness: Readiness;
}

/** Returns a function that registers every service, with a handler for each method. */
export function createRoutes({
  pools,
  changes,
  recent,
  writer,
  calendars,
  memo,
  feeds,
  readiness,
}: Dependencies): (router: ConnectRouter) => void {
  const deletion = { pool: pools.writes.deletions, lockRetry: createDeletionRetry(), recent, changes };
  const summary = {
    pools: { small: pools.reads, large: pools.largeReads },
    calendars,
    memo,
    wrap: wrapSummary,
  };
  return (router) => {
    router.service(LearningLogService, {
      createEntry: (request, context) => createEntry({ writer }, request, context),
      batchCreateEntries: (request, context) => batchCreateEntries({ writer }, request, context),
      importEntries: (requests, context) => importEntries({ writer }, requests, context),
      listEntries: (request, context) => listEntries({ pool: pools.reads }, request, context),
      deleteEntry: (request) => deleteEntry(deletion, request),
      deleteUserEntries: (request) => deleteUserEntries(deletion, request),
      getSummary: async (request, context) => (await getSummary(summary, request, context)).toMessage(),
      watchSummary: (request, context) => watchSummary({ feeds }, request, context),
    });
    router.service(Health, createHealthService(readiness, [LearningLogService.typeName]));
    serveReflection(router, [LearningLogService, Health], [file_google_rpc_error_details]);
  };
}

/** @param bytes a GetSummaryResponse in binary form */
export function wrapSummary(bytes: Uint8Array): EncodedSummary {
  return new EncodedMessage(GetSummaryResponseSchema, bytes);
}

/** Creates the memo of encoded summaries. @param maxBytes the most memory that it may use, in bytes */
export function createSummaryMemo(changes: LearnerChanges, maxBytes: number): SummaryMemo<EncodedSummary> {
  return new SummaryMemo<EncodedSummary>(
    changes,
    maxBytes,
    ({ size }) => size,
    (summary, listener) => {
      summary.onGrowth = listener;
    },
  );
}
