import type { findLabels, LabelChanges } from "./sql/find-labels.ts";

/**
 * Consecutive stretches of the same length, whose labels increase by this length, too. A stretch is a time in which all
 * instants have the same label, which is usually a whole period. All times and labels are in seconds since 1970.
 */
export interface Run {
  readonly begins: number;
  readonly ends: number;
  /** The length of each stretch. */
  readonly length: number;
  /** The label of the first stretch. */
  readonly label: number;
}

const hourSeconds = 3_600;

/** The number of stretches in a run. */
export function countOf({ begins, ends, length }: Run): number {
  return (ends - begins) / length;
}

/** Returns the complete stretches between label changes, one run for each. */
export function stretchesOf({ instants, labels }: LabelChanges): Run[] {
  return instants.slice(0, -1).map((begins, index) => {
    const ends = instants[index + 1] ?? begins;
    return { begins, ends, length: ends - begins, label: labels[index] ?? Number.NaN };
  });
}

/** Joins stretches to runs that are as long as possible. */
export function joinStretches(stretches: readonly Run[]): Run[] {
  const runs: Run[] = [];
  for (const stretch of stretches) {
    const last = runs.at(-1);
    const isNext = last?.length === stretch.length && stretch.label - last.label === last.ends - last.begins;
    if (last && isNext) runs[runs.length - 1] = { ...last, ends: stretch.ends };
    else runs.push(stretch);
  }
  return runs;
}

/** Adds the changes of labels that {@link findLabels} leaves out: those at every hour until the next change. */
export function withEveryHour({ instants, labels }: LabelChanges): LabelChanges {
  const every: { instants: number[]; labels: number[] } = { instants: [], labels: [] };
  const add = (instant: number, label: number) => {
    if (label === every.labels.at(-1)) return;
    every.instants.push(instant);
    every.labels.push(label);
  };
  for (const [index, instant] of instants.entries()) {
    const label = labels[index] ?? instant;
    const next = instants[index + 1] ?? instant;
    add(instant, label);
    for (let hour = label + hourSeconds; hour < next; hour += hourSeconds) add(hour, hour);
  }
  return every;
}
