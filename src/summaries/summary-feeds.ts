import { Code } from "@connectrpc/connect";
import type { WatchSummaryResponse } from "#gen/dailyaggregator/v1/summary_pb.js";
import { shuttingDown } from "../errors/retryable.ts";
import { DeliveryPace } from "./delivery-pace.ts";
import { retryOnCodes } from "./retry-on-codes.ts";
import { SummaryFeed, type SummaryFeedDependencies } from "./summary-feed.ts";
import type { SummaryRequest } from "./summary-request.ts";
import { wholePeriods } from "./whole-periods.ts";

/** The dependencies of {@link SummaryFeeds}, which creates the {@link DeliveryPace} itself. */
export type SummaryFeedsDependencies = Omit<SummaryFeedDependencies, "pace">;

/** The feeds of this instance. All watches of the same periods share one feed. */
export class SummaryFeeds {
  readonly #dependencies: SummaryFeedDependencies;
  readonly #feeds = new Map<string, SummaryFeed>();

  constructor(dependencies: SummaryFeedsDependencies) {
    this.#dependencies = { ...dependencies, pace: new DeliveryPace() };
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
    const shared = await this.#withWholePeriods(request);
    signal.throwIfAborted();
    if (this.#dependencies.draining.aborted) throw shuttingDown();
    yield* this.#feedOf(shared).follow(signal);
  }

  /**
   * Returns the request with a range that all requests for the same periods have. Without it, charts of "the last
   * seven days" would not share a feed, because each range starts at the instant at which its chart was opened.
   */
  async #withWholePeriods(request: SummaryRequest): Promise<SummaryRequest> {
    const { draining } = this.#dependencies;
    try {
      return await retryOnCodes(
        [Code.ResourceExhausted],
        () => wholePeriods(this.#dependencies, request, draining),
        draining,
      );
    } catch (error) {
      throw draining.aborted ? shuttingDown() : error;
    }
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
function keyOf({ rules, range }: SummaryRequest): string {
  const { userId, from, to, omitEmptyPeriods, movingAverageWindow } = range;
  return JSON.stringify([
    rules.unit.name,
    rules.timeZone,
    rules.shiftMinutes,
    userId,
    String(from),
    String(to),
    omitEmptyPeriods,
    movingAverageWindow,
  ]);
}
