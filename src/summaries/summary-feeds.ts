import type { GetSummaryRequest, WatchSummaryResponse } from "#gen/dailyaggregator/v1/summary_pb.js";
import { unavailable } from "../errors/retryable.ts";
import { DeliveryPace } from "./delivery-pace.ts";
import { SummaryFeed, type SummaryFeedDependencies } from "./summary-feed.ts";
import { maxPageSize, type SummaryRequest, summaryRequest } from "./summary-request.ts";
import { WatchedRanges } from "./watched-range.ts";

/** What watched summaries are made of. */
export type SummaryFeedsDependencies = Omit<SummaryFeedDependencies, "pace">;

/** The summaries that are watched at this instance: one feed for all who watch the same periods. */
export class SummaryFeeds {
  readonly #dependencies: SummaryFeedDependencies;
  readonly #ranges: WatchedRanges;
  readonly #feeds = new Map<string, SummaryFeed>();

  constructor(dependencies: SummaryFeedsDependencies) {
    this.#dependencies = { ...dependencies, pace: new DeliveryPace() };
    this.#ranges = new WatchedRanges(dependencies.pools.small, dependencies.draining);
  }

  /** How many summaries are kept current. */
  get size(): number {
    return this.#feeds.size;
  }

  /**
   * Answers a summary, and then the periods that change, for as long as the caller stays.
   *
   * @param message valid by the rules of the schema
   * @param signal aborted when the caller is gone
   * @throws ConnectError INVALID_ARGUMENT as `summaryRequest` does, and for more than 10,000 periods
   * @throws ConnectError UNAVAILABLE when the instance shuts down, or the database is away for long
   * @throws ConnectError RESOURCE_EXHAUSTED when the database is busy for long
   */
  async *watch(message: GetSummaryRequest, signal: AbortSignal): AsyncIterable<WatchSummaryResponse> {
    const request = summaryRequest({ ...message, pageSize: maxPageSize, pageToken: "" });
    const shared = await this.#ranges.samePeriods(request);
    signal.throwIfAborted();
    if (this.#dependencies.draining.aborted) throw unavailable("the server is shutting down");
    yield* this.#feedOf(shared).follow(signal);
  }

  #feedOf(request: SummaryRequest): SummaryFeed {
    const key = keyOf(request);
    let feed = this.#feeds.get(key);
    if (feed === undefined) {
      feed = new SummaryFeed(this.#dependencies, request, () => this.#feeds.delete(key));
      this.#feeds.set(key, feed);
    }
    return feed;
  }
}

/** The same for requests whose answers are the same. */
function keyOf({ granularity, range }: SummaryRequest): string {
  const { userId, from, to, timeZone, omitEmptyPeriods, movingAverageWindow } = range;
  return JSON.stringify([
    granularity,
    userId,
    String(from),
    String(to),
    timeZone,
    omitEmptyPeriods,
    movingAverageWindow,
  ]);
}
