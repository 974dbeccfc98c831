import { create } from "@bufbuild/protobuf";
import {
  type PeriodSummary,
  type WatchSummaryResponse,
  WatchSummaryResponseSchema,
} from "#gen/dailyaggregator/v1/summary_pb.js";

/** A period as it is now, and the version of the summary as of which it is so. */
interface WatchedPeriod {
  readonly summary: PeriodSummary;
  readonly version: number;
}

/** The periods of a summary as they are, and which of them have changed since any earlier version. */
export class WatchedPeriods {
  readonly #omitEmpty: boolean;
  /** By their first instant, in seconds since 1970. */
  readonly #periods = new Map<bigint, WatchedPeriod>();
  #version = 0;
  /** What was made of the present version, by the version that its receiver knows. */
  readonly #answers = new Map<number, WatchSummaryResponse>();

  /** @param omitEmpty whether empty periods are left out until they have an entry */
  constructor(omitEmpty: boolean) {
    this.#omitEmpty = omitEmpty;
  }

  /** Goes up by one with each change. */
  get version(): number {
    return this.#version;
  }

  /** @returns whether one of the periods is not what it was */
  put(periods: readonly PeriodSummary[]): boolean {
    const changed = periods.filter((period) => this.#isNews(period));
    if (changed.length === 0) return false;
    this.#version += 1;
    this.#answers.clear();
    for (const summary of changed) this.#periods.set(nameOf(summary), { summary, version: this.#version });
    return true;
  }

  whole(): WatchSummaryResponse {
    return this.#answer(0, ({ entryCount }) => entryCount > 0n || !this.#omitEmpty);
  }

  /** What has changed since that version, which is not 0. */
  since(version: number): WatchSummaryResponse {
    return this.#answer(version, () => true);
  }

  #answer(knownVersion: number, isAsked: (period: PeriodSummary) => boolean): WatchSummaryResponse {
    const known = this.#answers.get(knownVersion);
    if (known !== undefined) return known;
    const periods = [...this.#periods.values()]
      .filter(({ summary, version }) => version > knownVersion && isAsked(summary))
      .map(({ summary }) => summary)
      .sort((one, other) => Number(nameOf(one) - nameOf(other)));
    const answer = create(WatchSummaryResponseSchema, { periods });
    this.#answers.set(knownVersion, answer);
    return answer;
  }

  #isNews(period: PeriodSummary): boolean {
    const before = this.#periods.get(nameOf(period))?.summary;
    if (before === undefined) return period.entryCount > 0n || !this.#omitEmpty;
    return (
      before.totalWordCount !== period.totalWordCount ||
      before.entryCount !== period.entryCount ||
      before.movingAverage !== period.movingAverage
    );
  }
}

function nameOf({ period }: PeriodSummary): bigint {
  return period?.seconds ?? 0n;
}
