import { create } from "@bufbuild/protobuf";
import {
  type PeriodSummary,
  type WatchSummaryResponse,
  WatchSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";

/** The latest state of a period, and the version of the summary in which it last changed. */
interface WatchedPeriod {
  readonly summary: PeriodSummary;
  readonly version: number;
}

/** Keeps the latest state of a summary's periods, and tracks which of them have changed since any earlier version. */
export class WatchedPeriods {
  readonly #omitEmpty: boolean;
  /** Keyed by the first instant of the period, in seconds since 1970. */
  readonly #periods = new Map<bigint, WatchedPeriod>();
  #version = 1;
  /** The responses for the current version, keyed by the version that their receivers have; 0 if they have none. */
  readonly #responses = new Map<number, WatchSummaryResponse>();

  /** @param omitEmpty whether a period is omitted until it has its first entry */
  constructor(omitEmpty: boolean) {
    this.#omitEmpty = omitEmpty;
  }

  /** Starts at 1, and increases by one with each {@link put} that changes a period. */
  get version(): number {
    return this.#version;
  }

  /**
   * Stores the latest state of some periods.
   *
   * @returns whether any of them has changed
   */
  put(periods: readonly PeriodSummary[]): boolean {
    const changed = periods.filter((period) => this.#hasChanged(period));
    if (changed.length === 0) return false;
    this.#version += 1;
    this.#responses.clear();
    for (const summary of changed) this.#periods.set(startOf(summary), { summary, version: this.#version });
    return true;
  }

  /** Returns all periods, or all periods with entries if empty ones are omitted, for a receiver that has none yet. */
  whole(): WatchSummaryResponse {
    return this.#response(0, ({ entryCount }) => entryCount > 0n || !this.#omitEmpty);
  }

  /** Returns the periods that have changed since a version, including those that have become empty. */
  since(version: number): WatchSummaryResponse {
    return this.#response(version, () => true);
  }

  #response(knownVersion: number, isIncluded: (period: PeriodSummary) => boolean): WatchSummaryResponse {
    const known = this.#responses.get(knownVersion);
    if (known !== undefined) return known;
    const periods = [...this.#periods.values()]
      .filter(({ summary, version }) => version > knownVersion && isIncluded(summary))
      .map(({ summary }) => summary)
      .sort((one, other) => Number(startOf(one) - startOf(other)));
    const response = create(WatchSummaryResponseSchema, { periods });
    this.#responses.set(knownVersion, response);
    return response;
  }

  #hasChanged(period: PeriodSummary): boolean {
    const before = this.#periods.get(startOf(period))?.summary;
    if (before === undefined) return period.entryCount > 0n || !this.#omitEmpty;
    return (
      before.totalWordCount !== period.totalWordCount ||
      before.entryCount !== period.entryCount ||
      before.movingAverage !== period.movingAverage
    );
  }
}

function startOf({ period }: PeriodSummary): bigint {
  return period?.seconds ?? 0n;
}
