import type { LabelChanges } from "./sql/find-labels.ts";

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

/**
 * Returns the hours between the label changes. {@link LabelChanges} has only one label of each day while the clock does
 * not change; the others follow at intervals of one hour.
 */
export function hoursOf(changes: LabelChanges): Run[] {
  const runs: Run[] = [];
  for (const { begins, ends, label } of stretchesOf(changes)) {
    const firstEnd = Math.min(label + hourSeconds, ends);
    const wholeEnd = firstEnd + Math.floor((ends - firstEnd) / hourSeconds) * hourSeconds;
    addStretch(runs, { begins, ends: firstEnd, length: firstEnd - begins, label });
    if (firstEnd < wholeEnd)
      runs.push({ begins: firstEnd, ends: wholeEnd, length: hourSeconds, label: firstEnd });
    if (wholeEnd < ends) runs.push({ begins: wholeEnd, ends, length: ends - wholeEnd, label: wholeEnd });
  }
  return runs;
}

/** Adds a stretch to runs, or adds its time to the last stretch if that has the same label. */
function addStretch(runs: Run[], stretch: Run): void {
  const last = runs.at(-1);
  if (last?.label !== stretch.label) runs.push(stretch);
  else runs[runs.length - 1] = { ...last, ends: stretch.ends, length: stretch.ends - last.begins };
}

/**
 * Splits a run before the first stretch that begins at an instant or later.
 *
 * @returns the two parts; the second one is undefined if all stretches begin before the instant
 */
export function splitRun(run: Run, instant: number): readonly [Run, Run | undefined] {
  const { begins, ends, length, label } = run;
  const skipped = Math.ceil((instant - begins) / length);
  const middle = begins + skipped * length;
  if (middle >= ends) return [run, undefined];
  return [
    { ...run, ends: middle },
    { ...run, begins: middle, label: label + skipped * length },
  ];
}

/** Joins runs where the first stretch of one continues the stretches of the one before. */
export function joinRuns(runs: readonly Run[]): Run[] {
  const joined: Run[] = [];
  for (const run of runs) {
    const last = joined.at(-1);
    const isNext = last?.length === run.length && run.label - last.label === last.ends - last.begins;
    if (last && isNext) joined[joined.length - 1] = { ...last, ends: run.ends };
    else joined.push(run);
  }
  return joined;
}
