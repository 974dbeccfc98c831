import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry, recordable } from "./harness/entries.ts";
import { createInProcessWriter } from "./harness/in-process-writer.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { besidePgbench, measurePgbench } from "./harness/pgbench.ts";
import { takeTurns } from "./harness/rounds.ts";

/** The write path alone: the rate that CreateEntry would have if calls took no time. */
export const createEntryInProcessBenchmark: Benchmark = {
  name: "create-entry-in-process",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using inProcess = createInProcessWriter(database);
    const { writer } = inProcess;

    // Each call has a separate signal, as over gRPC.
    const record = () => writer.record(recordable(presentEntry()), new AbortController());
    const measure = async (inFlight: number) => {
      await database.reset();
      const load = await runLoad({ inFlight, ...setting.effort }, record);
      await database.expectEntries(load.answered);
      return load;
    };
    await warmUp(setting.effort.firstWarmUpSeconds, 256, record);
    const measured = await takeTurns(setting, {
      "64 in flight": () => measure(64),
      "256 in flight": () => measure(256),
      "512 in flight": () => measure(512),
      pgbench: () => measurePgbench(database, setting.effort.seconds),
    });
    return besidePgbench("EntryWriter in process", measured, 1.5);
  },
};
