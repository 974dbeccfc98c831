import type { WatchSummaryResponse } from "#gen/dailyaggregator/v1/summary_pb.js";
import { shuttingDown } from "../errors/retryable.ts";
import { DeliveryPace } from "./delivery-pace.ts";
import { SummaryFeed, type SummaryFeedDependencies } from "./summary-feed.ts";
import type { SummaryRequest } from "./summary-request.ts";
import { WatchedRanges } from "./watched-ranges.ts";

/** The dependencies of {@link SummaryFeeds}, which creates the {@link DeliveryPace} itself. */
export type SummaryFeedsDependencies = Omit<SummaryFeedDependencies, "pace">;

/** The feeds of this instance. All watches of the same periods share one feed. */
export class SummaryFeeds {
  readonly #dependencies: SummaryFeedDependencies;
  readonly #ranges: WatchedRanges;
  readonly #feeds = new Map<string, SummaryFeed>();

  constructor(dependencies: SummaryFeedsDependencies) {
    this.#dependencies = { ...dependencies, pace: new DeliveryPace() };
    this.#ranges = new WatchedRanges(dependencies.pools.small, dependencies.draining);
  }

  /** The number of feeds, which is the number of summaries that are kept current. */
  get size(): number {
    return this.#feeds.size;
  }

  /**
   * Yields the whole summary, and then the periods that change.
   *
   * @param signal aborts when the call is cancelled or the caller disconnects
   * @throws ConnectError as `watchSummary` does
   */
  async *follow(request: SummaryRequest, signal: AbortSignal): AsyncIterable<WatchSummaryResponse> {
    const shared = await this.#ranges.normalize(request).catch((error: unknown) => {
      throw this.#dependencies.draining.aborted ? shuttingDown() : error;
    });
    signal.throwIfAborted();
    if (this.#dependencies.draining.aborted) throw shuttingDown();
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

/** Equal for requests with the same meaning, and different for all others. */
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
