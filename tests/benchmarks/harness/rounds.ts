import type { Setting } from "./benchmark.ts";
import type { Measurement } from "./load.ts";

/** What is measured, and its rivals. They take turns, so that other work on the machine affects all of them. */
export type Turns<Names extends string> = Readonly<Record<Names, () => Promise<Measurement | undefined>>>;

/**
 * Measures all turns one after another, round by round.
 *
 * @returns the measurement of each turn with the median rate; undefined for a turn that could not be measured
 */
export async function takeTurns<Names extends string>(
  { effort, progress }: Setting,
  turns: Turns<Names>,
): Promise<Record<Names, Measurement | undefined>> {
  const names = Object.keys(turns) as Names[];
  const found = new Map<Names, Measurement[]>(names.map((name) => [name, []]));
  for (let round = 1; round <= effort.rounds; round += 1) {
    for (const name of names) {
      const measurement = await turns[name]();
      if (measurement === undefined) continue;
      found.get(name)?.push(measurement);
      progress(`  round ${round} of ${effort.rounds}, ${name}: ${Math.round(measurement.rate)}/s`);
    }
  }
  const medians = names.map((name) => [name, median(found.get(name) ?? [])]);
  return Object.fromEntries(medians);
}

function median(measurements: readonly Measurement[]): Measurement | undefined {
  const sorted = measurements.toSorted((a, b) => a.rate - b.rate);
  return sorted[Math.floor(sorted.length / 2)];
}
