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
import { shuttingDown } from "../errors/retryable.ts";
import { invalidArgument } from "../validation/invalid-argument.ts";
import { changedPart } from "./changed-part.ts";
import type { DeliveryPace } from "./delivery-pace.ts";
import { LearnerWatch } from "./learner-watch.ts";
import { orAborted } from "./or-aborted.ts";
import { periodSummary } from "./period-summary.ts";
import { retryOnCodes } from "./retry-on-codes.ts";
import { type SummaryDependencies, summarize } from "./summarize.ts";
import type { SummaryRequest } from "./summary-request.ts";
import { WatchedPeriods } from "./watched-periods.ts";

/** The pause after a response, in milliseconds: all changes during the pause share the next response. */
const coalesceMs = 200;

/** The dependencies of a feed. All feeds of an instance share them. */
export interface SummaryFeedDependencies extends SummaryDependencies {
  readonly changes: LearnerChanges;
  readonly pace: DeliveryPace;
  /** Aborted when this instance shuts down. */
  readonly draining: AbortSignal;
  /** The time without a response after which a feed sends one without periods, in milliseconds. */
  readonly keepaliveMs: number;
}

/**
 * Keeps one summary current for all its followers:
 *
 *     computing ──> current ──a change──> waiting ──DeliveryPace allows it──> computing
 *         any state ──the last follower leaves, an error occurs, or the instance drains──> ended
 *
 * Nothing is queued for a follower. Each follower remembers the version that it received last. When it is ready, it
 * takes everything that has changed since that version. So a slow follower misses nothing, and all followers at the
 * same version share one message.
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
  #keepalives = 0;
  #answeredAt = 0;
  #failure: unknown;
  #nextUpdate = Promise.withResolvers<void>();

  /** @param onEnd called once, when the feed has ended and can no longer be followed */
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
   * Yields the whole summary, and then the periods that change, until the signal aborts. The summary includes every
   * change that this instance knew of when the first response was requested.
   *
   * @param signal not aborted yet
   * @throws the signal's reason once it aborts; the error that ended the feed, if it has ended
   */
  async *follow(signal: AbortSignal): AsyncIterable<WatchSummaryResponse> {
    const leave = this.#join(signal);
    try {
      // A change that no computation has taken yet is in the next computation. Any other change is in a computation
      // that has already begun.
      const needed = this.#computationsBegun + (this.#watch.hasChanged ? 1 : 0);
      while (this.#computationsDone < needed) await this.#waitForUpdate(signal);

      let version = this.#periods.version;
      let keepalives = this.#keepalives;
      yield this.#periods.whole();
      for (;;) {
        if (this.#periods.version > version) {
          const update = this.#periods.since(version);
          version = this.#periods.version;
          keepalives = this.#keepalives;
          yield update;
        } else if (this.#keepalives > keepalives) {
          keepalives = this.#keepalives;
          yield keepalive;
        } else {
          await this.#waitForUpdate(signal);
        }
      }
    } finally {
      leave();
    }
  }

  /**
   * Adds a follower.
   *
   * @returns a function that removes it. The signal also removes it at once when it aborts, even if the follower is
   * not waiting for a response.
   */
  #join(signal: AbortSignal): () => void {
    let isFollowing = true;
    this.#followers += 1;
    const leave = () => {
      if (!isFollowing) return;
      isFollowing = false;
      signal.removeEventListener("abort", leave);
      this.#followers -= 1;
      if (this.#followers === 0) this.#end();
    };
    signal.addEventListener("abort", leave);
    return leave;
  }

  /**
   * Waits until followers are notified.
   *
   * @throws the signal's reason once it aborts; the error that ended the feed, if it has ended
   */
  async #waitForUpdate(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    await orAborted(this.#nextUpdate.promise, signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #notifyFollowers(): void {
    this.#nextUpdate.resolve();
    this.#nextUpdate = Promise.withResolvers();
  }

  async #run(): Promise<void> {
    try {
      // UNAVAILABLE is not retried here, so that new followers get it at once if the database is unavailable.
      this.#accept(await this.#compute(allTime, [Code.ResourceExhausted]));
      this.#answeredAt = performance.now();
      this.#notifyFollowers();
      for (;;) {
        await this.#deliverNextChange();
        await sleep(coalesceMs, undefined, { signal: this.#signal });
      }
    } catch (error) {
      this.#failure = this.#dependencies.draining.aborted ? shuttingDown() : error;
      this.#end();
      this.#notifyFollowers();
    }
  }

  /**
   * Waits for a change or until the keepalive is due, brings the summary up to date, and notifies the followers. They
   * are notified even if nothing has changed, because a new follower waits until its summary is current.
   */
  async #deliverNextChange(): Promise<void> {
    const { changes, pace, keepaliveMs } = this.#dependencies;
    await this.#waitForChange(this.#answeredAt + keepaliveMs - performance.now());
    // A keepalive confirms that the summary is current. While notifications do not arrive, only the database can
    // confirm that, so everything is read again.
    if (!this.#watch.hasChanged && !changes.isCurrent()) this.#watch.onGap();
    const followers = this.#followers;
    if (this.#watch.hasChanged) {
      await pace.reserve(followers, this.#signal);
      const changed = this.#watch.take() ?? allTime;
      const updated = this.#accept(await this.#compute(changed, [Code.ResourceExhausted, Code.Unavailable]));
      if (updated) this.#answeredAt = performance.now();
      else pace.release(followers);
    }
    // A change may affect none of the watched periods. Such a change must not delay the keepalive.
    if (performance.now() >= this.#answeredAt + keepaliveMs) {
      this.#keepalives += 1;
      this.#answeredAt = performance.now();
    }
    this.#notifyFollowers();
  }

  /**
   * Stores the result of a computation.
   *
   * @returns whether a period has changed
   */
  #accept(periods: readonly PeriodSummary[]): boolean {
    this.#computationsDone = this.#computationsBegun;
    return this.#periods.put(periods);
  }

  /**
   * Reads the periods that a change can affect from the database.
   *
   * @param codes the errors to retry
   */
  async #compute(changed: ChangedRange, codes: readonly Code[]): Promise<PeriodSummary[]> {
    this.#computationsBegun += 1;
    const part = changedPart(this.#request, changed);
    const { periods, next } = await retryOnCodes(
      codes,
      () => summarize(this.#dependencies, part, this.#signal),
      this.#signal,
    );
    if (next !== undefined) throw tooManyPeriods();
    return periods.map((period) => create(PeriodSummarySchema, periodSummary(period)));
  }

  /** Resolves at the next change, or after this time without a change. */
  async #waitForChange(ms: number): Promise<void> {
    if (ms <= 0) return;
    const timer = new AbortController();
    // Never rejects: when it is aborted, possibly nothing waits for it any more, and an unhandled rejection would end
    // the process.
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

/** The same message for all followers of all feeds. */
const keepalive = create(WatchSummaryResponseSchema);

function tooManyPeriods() {
  return invalidArgument(
    GetSummaryRequestSchema,
    "to",
    "summary.max_watched_periods",
    "must be at most 10,000 periods after from",
  );
}
