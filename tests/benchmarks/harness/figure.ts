/** One line of the report. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly p50Ms?: number | undefined;
  readonly p99Ms?: number | undefined;
  /** What the figure is compared to: measured in the same run on the same machine, in the same unit. */
  readonly rival?: Rival | undefined;
  readonly goal?: Goal | undefined;
  /** A remark for readers, such as why there is no rival. */
  readonly note?: string | undefined;
}

export interface Rival {
  readonly name: string;
  readonly value: number;
}

/** A bound for the ratio to the rival, or for the value itself. */
export type Goal =
  | { readonly of: "ratio" | "value"; readonly atLeast: number }
  | { readonly of: "ratio" | "value"; readonly atMost: number };

/** The value divided by that of the rival. */
export function ratioOf({ value, rival }: Figure): number | undefined {
  return rival && value / rival.value;
}

/** Whether the goal is met; undefined if there is no goal, or no rival for its ratio. */
export function isMet(figure: Figure): boolean | undefined {
  const { goal } = figure;
  const measured = goal?.of === "ratio" ? ratioOf(figure) : figure.value;
  if (goal === undefined || measured === undefined) return undefined;
  return "atLeast" in goal ? measured >= goal.atLeast : measured <= goal.atMost;
}
