import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry, recordable } from "./harness/entries.ts";
import { createInProcessWriter } from "./harness/in-process-writer.ts";
import { runLoad } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";

const statements = [1, 2, 3, 4, 8];
const statementRows = [64, 128, 500, 1000];
// With fewer calls in flight than a statement may take, its limit would have no effect.
const inFlights = [512, 2048];

/** The effect of WRITE_STATEMENTS and WRITE_STATEMENT_ROWS, which is the reason for their defaults. */
export const writeLimitsBenchmark: Benchmark = {
  name: "write-limits",
  onDemand: true,
  async run(setting) {
    await using database = await createDatabase(setting.server);

    const measure = async (maxStatements: number, maxStatementRows: number, inFlight: number) => {
      await database.reset();
      await using inProcess = createInProcessWriter(database, { maxStatements, maxStatementRows });
      const { writer } = inProcess;
      const record = () => writer.record(recordable(presentEntry()), new AbortController());
      // With await, because the writer is disposed of when this function returns.
      return await runLoad({ inFlight, warmUpSeconds: 0.3, seconds: 1 }, record);
    };
    await measure(2, 500, 512);
    const grid = inFlights.flatMap((inFlight) =>
      statements.flatMap((count) =>
        statementRows.map((rows) => {
          const name = `${count} statements of ${rows} rows, ${inFlight} in flight`;
          return [name, () => measure(count, rows, inFlight)] as const;
        }),
      ),
    );
    const measured = await takeTurns(setting, Object.fromEntries(grid));
    return Object.entries(measured).flatMap(([name, measurement]) => {
      if (measurement === undefined) return [];
      const { rate, p50Ms, p99Ms } = measurement;
      return { name, value: rate, unit: "rows/s", p50Ms, p99Ms };
    });
  },
};
