import { setTimeout as sleep } from "node:timers/promises";
import { create, equals } from "@bufbuild/protobuf";
import {
  type GetSummaryRequest,
  GetSummaryRequestSchema,
  type PeriodSummary,
  PeriodSummarySchema,
  type WatchSummaryResponse,
  WatchSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { allTime, type ChangedRange, type LearnerChanges } from "../database/learner-changes.ts";
import type { ConnectionPool } from "../database/pool.ts";
import { invalidArgument } from "../errors/invalid-argument.ts";
import { unavailable } from "../errors/retryable.ts";
import { LearnerWatch } from "./learner-watch.ts";
import type { PeriodRow } from "./sql/summary-page.ts";
import { periodSummary, summarize } from "./summarize.ts";
import { maxPageSize, type SummaryRequest, summaryRequest } from "./summary-request.ts";

/** What changes within this time of an answer shares the next one. */
const coalesceMs = 200;

/**
 * Answers a summary, and then the periods that change, for as long as the caller stays.
 *
 * @param message valid by the rules of the schema
 * @param signal aborted when the caller is gone
 * @param draining aborted when this instance shuts down
 * @param heartbeatMs after this long without an answer comes one without periods
 * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does, UNAVAILABLE when the instance shuts down
 */
export async function* watchSummary(
  pool: ConnectionPool,
  changes: LearnerChanges,
  message: GetSummaryRequest,
  signal: AbortSignal,
  draining: AbortSignal,
  heartbeatMs = 15_000,
): AsyncIterable<WatchSummaryResponse> {
  const request = summaryRequest({ ...message, pageSize: maxPageSize, pageToken: "" });
  const ended = AbortSignal.any([signal, draining]);
  const watch = new LearnerWatch(changes, message.userId);
  try {
    const { periods, next } = await summarize(pool, changedPart(request, allTime), ended);
    if (next !== undefined) throw tooManyPeriods();
    const answered = new AnsweredPeriods();
    const all = periods.map(periodMessage);
    yield answered.answer(message.omitEmptyPeriods ? answered.news(all) : all);
    let answeredAt = performance.now();
    for (;;) {
      await quietFor(Math.max(0, answeredAt + heartbeatMs - performance.now()), watch, ended);
      const changed = watch.take();
      const part = changed && (await summarize(pool, changedPart(request, changed), ended));
      const news = answered.news(part?.periods.map(periodMessage) ?? []);
      // Not every change is of a period that is watched: then it must not put off the heartbeat.
      if (news.length > 0 || performance.now() >= answeredAt + heartbeatMs) {
        yield answered.answer(news);
        answeredAt = performance.now();
      }
      await sleep(coalesceMs, undefined, { signal: ended });
    }
  } catch (error) {
    if (draining.aborted) throw unavailable("the server is shutting down");
    throw error;
  } finally {
    watch.close();
  }
}

function periodMessage(row: PeriodRow): PeriodSummary {
  return create(PeriodSummarySchema, periodSummary(row));
}

/** What the caller has been told of each period. */
class AnsweredPeriods {
  readonly #periods = new Map<bigint, PeriodSummary>();

  /** Those of the periods that the caller has not been told of as they are; an empty one need not be told of first. */
  news(periods: readonly PeriodSummary[]): PeriodSummary[] {
    return periods.filter((period) => {
      const before = this.#periods.get(period.period?.seconds ?? 0n);
      if (before === undefined) return period.entryCount > 0n;
      return !equals(PeriodSummarySchema, before, period);
    });
  }

  answer(periods: PeriodSummary[]): WatchSummaryResponse {
    for (const period of periods) this.#periods.set(period.period?.seconds ?? 0n, period);
    return create(WatchSummaryResponseSchema, { periods });
  }
}

/**
 * The request for the periods that a change can have touched, empty ones included. A moving average carries a change on
 * into later periods: then it is the whole range.
 */
function changedPart(request: SummaryRequest, changed: ChangedRange): SummaryRequest {
  const { from, to, movingAverageWindow } = request.range;
  const within = (time: bigint) => (time < from ? from : time > to ? to : time);
  const part =
    movingAverageWindow > 0 ? { from, to } : { from: within(changed.from), to: within(changed.to) };
  return { ...request, range: { ...request.range, ...part, omitEmptyPeriods: false } };
}

/** Resolves at the next change, or when there was none for so long. */
async function quietFor(ms: number, watch: LearnerWatch, signal: AbortSignal): Promise<void> {
  const waiting = new AbortController();
  const timeout = sleep(ms, undefined, { signal: AbortSignal.any([signal, waiting.signal]) });
  try {
    await Promise.race([watch.changed, timeout]);
  } finally {
    waiting.abort();
    timeout.catch(() => {});
  }
  signal.throwIfAborted();
}

function tooManyPeriods() {
  return invalidArgument(
    GetSummaryRequestSchema,
    "to",
    "summary.max_watched_periods",
    "must be at most 10,000 periods after from",
  );
}
