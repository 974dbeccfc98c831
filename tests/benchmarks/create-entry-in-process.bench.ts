import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry, recordable } from "./harness/entries.ts";
import { createInProcessWriter } from "./harness/in-process-writer.ts";
import { measureBesidePgbench } from "./harness/pgbench.ts";

/** The write path alone: the rate that CreateEntry would have if calls took no time. */
export const createEntryInProcessBenchmark: Benchmark = {
  name: "create-entry-in-process",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using inProcess = createInProcessWriter(database);
    const { writer } = inProcess;

    // Each call has a separate signal, as over gRPC.
    const record = () => writer.record(recordable(presentEntry()), new AbortController());
    return await measureBesidePgbench(setting, database, {
      what: "EntryWriter in process",
      record,
      goal: 1.5,
    });
  },
};
