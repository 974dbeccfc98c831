import type { Setting } from "./benchmark.ts";
import type { BenchmarkDatabase } from "./database.ts";
import type { Figure } from "./figure.ts";
import { runLoad, warmUp } from "./load.ts";
import { measurePgbench, type PgbenchTransaction } from "./pgbench.ts";
import { takeTurns } from "./rounds.ts";

/** The numbers of calls in flight. */
const inFlights = [64, 256, 512] as const;

/** A transaction of pgbench, and how many times as fast as it the service should be, by the number in flight. */
export interface PgbenchRival {
  readonly transaction: PgbenchTransaction;
  readonly goals?: Readonly<Partial<Record<(typeof inFlights)[number], number>>>;
}

/**
 * Measures the rate of recording single entries with several numbers of calls in flight, and that of pgbench.
 *
 * @param record records one entry
 */
export async function measureSingleEntries(
  setting: Setting,
  database: BenchmarkDatabase,
  { what, record, rivals }: { what: string; record: () => Promise<unknown>; rivals: readonly PgbenchRival[] },
): Promise<Figure[]> {
  const measure = async (inFlight: number) => {
    await database.reset();
    const load = await runLoad({ inFlight, ...setting.effort }, record);
    await database.expectEntries(load.answered);
    return load;
  };
  await warmUp(setting.effort.firstWarmUpSeconds, 256, record);
  const measured = await takeTurns(setting, {
    ...Object.fromEntries(inFlights.map((inFlight) => [`${inFlight} in flight`, () => measure(inFlight)])),
    ...Object.fromEntries(
      rivals.map(({ transaction }) => [
        transaction.name,
        () => measurePgbench(database, transaction, setting.effort.seconds),
      ]),
    ),
  });
  return inFlights.flatMap((inFlight) => {
    const measurement = measured[`${inFlight} in flight`];
    if (measurement === undefined) return [];
    const { rate, p50Ms, p99Ms } = measurement;
    const figure = { name: `${what}, ${inFlight} in flight`, value: rate, unit: "rows/s", p50Ms, p99Ms };
    return rivals.map(({ transaction: { name }, goals }) => {
      const rival = measured[name];
      if (rival === undefined) {
        return {
          ...figure,
          note: "no rival: pgbench is not installed, or committed nothing within the time",
        };
      }
      const atLeast = goals?.[inFlight];
      const goal = atLeast === undefined ? undefined : ({ of: "ratio", atLeast } as const);
      return { ...figure, rival: { name, value: rival.rate }, goal };
    });
  });
}
