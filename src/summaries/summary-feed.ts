import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  GetSummaryRequestSchema,
  type PeriodSummary,
  PeriodSummarySchema,
  type WatchSummaryResponse,
  WatchSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";
import { allTime, type ChangedRange, type LearnerChanges } from "../changes/learner-changes.ts";
import { unavailable } from "../errors/retryable.ts";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { changedPart } from "./changed-part.ts";
import type { DeliveryPace } from "./delivery-pace.ts";
import { LearnerWatch } from "./learner-watch.ts";
import { orAborted } from "./or-aborted.ts";
import { retryOnCodes } from "./retry-on-codes.ts";
import { periodSummary, type SummaryPools, summarize } from "./summarize.ts";
import type { SummaryRequest } from "./summary-request.ts";
import { WatchedPeriods } from "./watched-periods.ts";

/** What changes within this time of an answer shares the next one. */
const coalesceMs = 200;

/** What feeds work on. */
export interface SummaryFeedDependencies {
  readonly pools: SummaryPools;
  readonly changes: LearnerChanges;
  readonly pace: DeliveryPace;
  /** Aborted when this instance shuts down. */
  readonly draining: AbortSignal;
  /** After this long without an answer comes one without periods. */
  readonly heartbeatMs: number;
}

/**
 * One summary that is kept current for all who follow it:
 *
 *     computing ──> current ──a change──> gathering ──its turn comes──> computing
 *         any of them ──the last follower leaves, a failure, the instance drains──> ended
 *
 * Nothing is queued for a follower. Each remembers the version that it received, and takes what has changed since then when
 * it is ready: a slow one misses nothing, and all who are equally far share one message.
 */
export class SummaryFeed {
  readonly #dependencies: SummaryFeedDependencies;
  readonly #request: SummaryRequest;
  readonly #onEnd: () => void;
  readonly #watch: LearnerWatch;
  readonly #ended = new AbortController();
  readonly #signal: AbortSignal;
  readonly #periods: WatchedPeriods;
  #followers = 0;
  #computationsBegun = 0;
  #computationsDone = 0;
  #heartbeats = 0;
  #answeredAt = 0;
  #failure: unknown;
  #news = Promise.withResolvers<void>();

  /** @param onEnd called once, when nobody can follow it any more */
  constructor(dependencies: SummaryFeedDependencies, request: SummaryRequest, onEnd: () => void) {
    this.#dependencies = dependencies;
    this.#request = request;
    this.#onEnd = onEnd;
    this.#signal = AbortSignal.any([this.#ended.signal, dependencies.draining]);
    this.#periods = new WatchedPeriods(request.range.omitEmptyPeriods);
    this.#watch = new LearnerWatch(dependencies.changes, request.range.userId);
    void this.#run();
  }

  /**
   * Yields the whole summary, and then what changes, until the signal, which is not aborted yet, aborts.
   *
   * The summary has whatever this instance had heard of when the follower came.
   */
  async *follow(signal: AbortSignal): AsyncIterable<WatchSummaryResponse> {
    const leave = this.#enter(signal);
    try {
      // A change that nobody has taken yet is in the next computation, any other one is in those that were begun.
      const needed = this.#computationsBegun + (this.#watch.hasChanged ? 1 : 0);
      while (this.#computationsDone < needed) await this.#nextNews(signal);

      let version = this.#periods.version;
      let heartbeats = this.#heartbeats;
      yield this.#periods.whole();
      for (;;) {
        if (this.#periods.version > version) {
          const news = this.#periods.since(version);
          version = this.#periods.version;
          heartbeats = this.#heartbeats;
          yield news;
        } else if (this.#heartbeats > heartbeats) {
          heartbeats = this.#heartbeats;
          yield heartbeat;
        } else {
          await this.#nextNews(signal);
        }
      }
    } finally {
      leave();
    }
  }

  /** @returns what a follower calls that goes; whose signal aborts goes at once, even while nobody takes its answers */
  #enter(signal: AbortSignal): () => void {
    let isHere = true;
    this.#followers += 1;
    const leave = () => {
      if (!isHere) return;
      isHere = false;
      signal.removeEventListener("abort", leave);
      this.#followers -= 1;
      if (this.#followers === 0) this.#end();
    };
    signal.addEventListener("abort", leave);
    return leave;
  }

  /** @throws the signal's reason once it is aborted; why the feed has ended, if it has */
  async #nextNews(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    await orAborted(this.#news.promise, signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #tellFollowers(): void {
    this.#news.resolve();
    this.#news = Promise.withResolvers();
  }

  async #run(): Promise<void> {
    try {
      // A new follower gets UNAVAILABLE at once if the database is away.
      this.#accept(await this.#compute(allTime, [Code.ResourceExhausted]));
      this.#answeredAt = performance.now();
      this.#tellFollowers();
      for (;;) {
        await this.#tellOfNextChange();
        await sleep(coalesceMs, undefined, { signal: this.#signal });
      }
    } catch (error) {
      this.#failure = this.#dependencies.draining.aborted
        ? unavailable("the server is shutting down")
        : error;
      this.#end();
      this.#tellFollowers();
    }
  }

  /** Returns when followers can take news, or a heartbeat, or at least the certainty that nothing has changed. */
  async #tellOfNextChange(): Promise<void> {
    const { changes, pace, heartbeatMs } = this.#dependencies;
    await this.#quietFor(this.#answeredAt + heartbeatMs - performance.now());
    // A heartbeat says that the summary is current. While changes are not heard of, only the database can tell.
    if (!this.#watch.hasChanged && !changes.isCurrent()) this.#watch.onGap();
    const audience = this.#followers;
    if (this.#watch.hasChanged) {
      await pace.turn(audience, this.#signal);
      const changed = this.#watch.take() ?? allTime;
      const hasNews = this.#accept(await this.#compute(changed, [Code.ResourceExhausted, Code.Unavailable]));
      if (hasNews) this.#answeredAt = performance.now();
      else pace.giveBack(audience);
    }
    // Not every change is of a period that is watched: then it must not put off the heartbeat.
    if (performance.now() >= this.#answeredAt + heartbeatMs) {
      this.#heartbeats += 1;
      this.#answeredAt = performance.now();
    }
    this.#tellFollowers();
  }

  /** @returns whether a period has changed */
  #accept(periods: readonly PeriodSummary[]): boolean {
    this.#computationsDone = this.#computationsBegun;
    return this.#periods.put(periods);
  }

  /** The periods that a change can have touched, as they are now. */
  async #compute(changed: ChangedRange, codes: readonly Code[]): Promise<PeriodSummary[]> {
    this.#computationsBegun += 1;
    const part = changedPart(this.#request, changed);
    const { periods, next } = await retryOnCodes(
      codes,
      () => summarize(this.#dependencies.pools, part, this.#signal),
      this.#signal,
    );
    if (next !== undefined) throw tooManyPeriods();
    return periods.map((row) => create(PeriodSummarySchema, periodSummary(row)));
  }

  /** Resolves at the next change, or when there was none for so long. */
  async #quietFor(ms: number): Promise<void> {
    if (ms <= 0) return;
    const timer = new AbortController();
    // It never rejects, for nobody may wait for it any more: an unhandled rejection would end the process.
    const timeout = sleep(ms, undefined, { signal: timer.signal }).catch(() => {});
    try {
      await orAborted(Promise.race([this.#watch.changed, timeout]), this.#signal);
    } finally {
      timer.abort();
    }
  }

  #end(): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort();
    this.#watch.close();
    this.#onEnd();
  }
}

/** All have it in common. */
const heartbeat = create(WatchSummaryResponseSchema);

function tooManyPeriods() {
  return invalidArgument(
    GetSummaryRequestSchema,
    "to",
    "summary.max_watched_periods",
    "must be at most 10,000 periods after from",
  );
}
