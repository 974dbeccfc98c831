/** One line of the report. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly p50Ms?: number | undefined;
  readonly p99Ms?: number | undefined;
  /** What was measured beside it, in the same run on the same machine, in the same unit. */
  readonly rival?: Rival | undefined;
  readonly goal?: Goal | undefined;
  /** What a reader should know, such as why there is no rival. */
  readonly note?: string | undefined;
}

export interface Rival {
  readonly name: string;
  readonly value: number;
}

/** A bound of the ratio to the rival, or of the value itself. */
export type Goal =
  | { readonly of: "ratio" | "value"; readonly atLeast: number }
  | { readonly of: "ratio" | "value"; readonly atMost: number };

/** The value as a multiple of the rival's. */
export function ratioOf({ value, rival }: Figure): number | undefined {
  return rival && value / rival.value;
}

/** Whether the goal is met; undefined if there is none, or nothing to hold against it. */
export function isMet(figure: Figure): boolean | undefined {
  const { goal } = figure;
  const measured = goal?.of === "ratio" ? ratioOf(figure) : figure.value;
  if (goal === undefined || measured === undefined) return undefined;
  return "atLeast" in goal ? measured >= goal.atLeast : measured <= goal.atMost;
}
