import { setTimeout as sleep } from "node:timers/promises";
import type { GetSummaryRequest } from "#gen/dailyaggregator/v1/summary_pb.js";
import { LearnerChanges } from "../../../src/changes/learner-changes.ts";
import { WatchedLearners } from "../../../src/changes/watched-learners.ts";
import { readConfig } from "../../../src/config.ts";
import { Notifications } from "../../../src/database/notifications.ts";
import { createPools, endPools } from "../../../src/database/pools.ts";
import { createSummaryMemo, type EncodedSummary, wrapSummary } from "../../../src/routes.ts";
import { Calendars } from "../../../src/summaries/calendars.ts";
import { getSummary } from "../../../src/summaries/get-summary.ts";
import type { SummaryMemo } from "../../../src/summaries/summary-memo.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import type { BenchmarkDatabase } from "./database.ts";

/** The read path without its RPCs, assembled as in `src/service.ts`. */
export interface InProcessMemo extends AsyncDisposable {
  readonly memo: SummaryMemo<EncodedSummary>;
  ask(request: GetSummaryRequest): Promise<EncodedSummary>;
}

/** Resolves when the memo may store summaries. */
export async function createInProcessMemo(database: BenchmarkDatabase): Promise<InProcessMemo> {
  const log = createLog("error");
  const config = readConfig({ DATABASE_URL: database.url });
  const pools = createPools(database.url, config.databasePools, config.writing.maxStatements, log);
  const notifications = new Notifications(database.url, log);
  const watched = new WatchedLearners(notifications);
  const changes = new LearnerChanges(notifications, watched);
  const memo = createSummaryMemo(changes, config.summaryCacheBytes);
  const summaryPools = { small: pools.reads, large: pools.largeReads };
  const calendars = new Calendars();
  notifications.start();
  while (notifications.settledAt === undefined) await sleep(10);
  return {
    memo,
    ask: (request) =>
      getSummary({ pools: summaryPools, calendars, memo, wrap: wrapSummary }, request, new AbortController()),
    async [Symbol.asyncDispose]() {
      watched.close();
      await notifications.close();
      await endPools(pools);
    },
  };
}
