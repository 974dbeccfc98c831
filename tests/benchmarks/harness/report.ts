import { type Figure, type Goal, isMet, ratioOf } from "./figure.ts";
import type { Machine } from "./machine.ts";

/** The whole report, for programs. */
export function toJson(machine: Machine, figures: readonly Figure[]): string {
  const judged = figures.map((figure) => ({ ...figure, ratio: ratioOf(figure), met: isMet(figure) }));
  return JSON.stringify({ machine, figures: judged }, undefined, 2);
}

/** The whole report, for people. */
export function toTable(machine: Machine, figures: readonly Figure[]): string {
  const { date, cpu, cores, node, postgres, durability } = machine;
  const heading = `${date}, ${cpu}, ${cores} cores, Node ${node}, PostgreSQL ${postgres}, ${durability}`;
  const titles = [
    "what",
    "figure",
    "unit",
    "p50 ms",
    "p99 ms",
    "rival",
    "its figure",
    "ratio",
    "goal",
    "met",
  ];
  const rows = [titles, ...figures.map(cellsOf)];
  const widths = titles.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) => row.map((cell, column) => pad(cell, widths[column] ?? 0)).join("  "));
  const notes = figures.flatMap(({ name, note }) => (note === undefined ? [] : `${name}: ${note}`));
  return [heading, "", ...lines.map((line) => line.trimEnd()), "", ...notes].join("\n");
}

function cellsOf(figure: Figure): string[] {
  const { name, value, unit, p50Ms, p99Ms, rival, goal } = figure;
  const ratio = ratioOf(figure);
  const met = isMet(figure);
  return [
    name,
    whole(value),
    unit,
    p50Ms === undefined ? "" : p50Ms.toFixed(1),
    p99Ms === undefined ? "" : p99Ms.toFixed(1),
    rival?.name ?? "",
    rival === undefined ? "" : whole(rival.value),
    ratio === undefined ? "" : ratio.toFixed(2),
    goal === undefined ? "" : goalText(goal, unit),
    met === undefined ? "" : met ? "yes" : "no",
  ];
}

function goalText(goal: Goal, unit: string): string {
  const bound = "atLeast" in goal ? `≥ ${goal.atLeast}` : `≤ ${goal.atMost}`;
  return `${bound} ${goal.of === "ratio" ? "×" : unit}`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** Aligns numbers to the right, and words to the left. */
function pad(cell: string, width: number): string {
  return /^[\d.,]+$/.test(cell) ? cell.padStart(width) : cell.padEnd(width);
}
