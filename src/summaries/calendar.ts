import { countOf, type Run } from "./runs.ts";

/** A run whose periods are numbered. */
export interface Part extends Run {
  /** The position of the first stretch's period; the following stretches have the following positions. */
  readonly position: number;
}

/**
 * The periods of a range of time, numbered in chronological order. The number of a period is its position.
 *
 * A period usually consists of one stretch. It consists of two where the clock was set back across the start of a
 * period, and so returned to the period before: St. John's used to set its clock back from 00:01 to 23:01.
 */
export class Calendar {
  readonly #parts: readonly Part[];
  /** The parts, without stretches of periods that have an earlier stretch. So their positions increase, too. */
  readonly #firstParts: readonly Part[];

  /** @param runs in chronological order, without gaps */
  constructor(runs: readonly Run[]) {
    const parts: Part[] = [];
    const firstParts: Part[] = [];
    let next = 0;
    let highestLabel = Number.NEGATIVE_INFINITY;
    for (const run of runs) {
      // Labels increase, except where the clock returns to an earlier period.
      const earlier =
        run.label <= highestLabel ? parts.findLast((part) => hasLabel(part, run.label)) : undefined;
      const part = { ...run, position: earlier ? positionOf(earlier, run.label) : next };
      const first = next;
      next = Math.max(next, part.position + countOf(part));
      highestLabel = Math.max(highestLabel, run.label + (countOf(run) - 1) * run.length);
      parts.push(part);
      firstParts.push(...clip(part, first, next));
    }
    this.#parts = parts;
    this.#firstParts = firstParts;
  }

  /** Returns the position of the period that contains an instant, which must not be before the calendar. */
  positionAt(instant: number): number {
    const { begins, length, position } = lastOf(this.#parts, (part) => part.begins <= instant);
    return position + Math.floor((instant - begins) / length);
  }

  /** Returns the first instant of the period at a position. */
  beginningOf(position: number): number {
    const part = lastOf(this.#firstParts, (it) => it.position <= position);
    return part.begins + (position - part.position) * part.length;
  }

  /** Returns the parts of the periods from one position to another, both included. */
  partsOf(first: number, last: number): Part[] {
    return this.#parts.flatMap((part) => clip(part, first, last));
  }
}

function hasLabel({ label, begins, ends }: Part, wanted: number): boolean {
  return wanted >= label && wanted < label + ends - begins;
}

function positionOf({ label, length, position }: Part, wanted: number): number {
  return position + (wanted - label) / length;
}

/** Returns the periods of a part from one position to another, both included; nothing if there are none. */
function clip(part: Part, first: number, last: number): Part[] {
  const { begins, ends, length, position, label } = part;
  const skipped = Math.max(0, first - position);
  const from = begins + skipped * length;
  const to = Math.min(ends, begins + (last + 1 - position) * length);
  if (from >= to) return [];
  return [{ begins: from, ends: to, length, label: label + skipped * length, position: position + skipped }];
}

/** Finds the last part that satisfies a condition, by binary search: after one that does not, none does. */
function lastOf(parts: readonly Part[], condition: (part: Part) => boolean): Part {
  let [low, high] = [-1, parts.length];
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    const part = parts[middle];
    if (part !== undefined && condition(part)) low = middle;
    else high = middle;
  }
  const found = parts[low];
  if (found === undefined) throw new RangeError("the calendar begins later");
  return found;
}
