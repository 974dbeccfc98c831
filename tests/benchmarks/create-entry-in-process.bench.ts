import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry, recordable } from "./harness/entries.ts";
import { createInProcessWriter } from "./harness/in-process-writer.ts";
import { bareInsert } from "./harness/pgbench.ts";
import { measureSingleEntries } from "./harness/single-entries.ts";

/** The write path alone: the rate that CreateEntry would have if calls took no time. */
export const createEntryInProcessBenchmark: Benchmark = {
  name: "create-entry-in-process",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using inProcess = createInProcessWriter(database);
    const { writer } = inProcess;

    // Each call has a separate signal, as over gRPC.
    const record = () => writer.record(recordable(presentEntry()), new AbortController());
    return await measureSingleEntries(setting, database, {
      what: "EntryWriter in process",
      record,
      rivals: [{ transaction: bareInsert, goals: { 64: 1.5, 256: 1.5, 512: 1.5 } }],
    });
  },
};
