import type { Calendar } from "./calendar.ts";
import type { Sums } from "./sql/add-up.ts";

/** The sums of one period's entries. */
export interface Totals {
  readonly totalWordCount: bigint;
  readonly entryCount: bigint;
}

/** Returns the average words per entry; 0 without entries. */
export function averageOf({ totalWordCount, entryCount }: Totals): number {
  return entryCount === 0n ? 0 : Number(totalWordCount) / Number(entryCount);
}

const noEntries: Totals = { totalWordCount: 0n, entryCount: 0n };

/** The totals of a calendar's periods, by position. Sums are bigints, so they are exact; only averages are doubles. */
export class PeriodTotals {
  readonly #totals = new Map<number, Totals>();

  constructor(calendar: Calendar, sums: readonly Sums[]) {
    for (const { instant, totalWordCount, entryCount } of sums) {
      const position = calendar.positionAt(instant);
      const before = this.of(position);
      this.#totals.set(position, {
        totalWordCount: before.totalWordCount + totalWordCount,
        entryCount: before.entryCount + entryCount,
      });
    }
  }

  of(position: number): Totals {
    return this.#totals.get(position) ?? noEntries;
  }

  /** Returns the positions of the periods with entries, in chronological order. */
  positions(): number[] {
    return [...this.#totals.keys()].sort((one, other) => one - other);
  }

  /**
   * Returns the moving averages at some positions, in words per period.
   *
   * @param positions in chronological order
   * @param window the number of periods in each average
   */
  movingAverages(positions: readonly number[], window: number): number[] {
    const withEntries = this.positions();
    let [first, next] = [0, 0];
    let sum = 0n;
    const wordsAt = (index: number) => this.of(withEntries[index] ?? Number.NaN).totalWordCount;
    return positions.map((position) => {
      for (; (withEntries[next] ?? Number.POSITIVE_INFINITY) <= position; next += 1) sum += wordsAt(next);
      for (; (withEntries[first] ?? Number.POSITIVE_INFINITY) <= position - window; first += 1)
        sum -= wordsAt(first);
      return Number(sum) / window;
    });
  }
}
