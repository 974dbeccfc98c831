import { readConfig } from "../../../src/config.ts";
import { createPools, endPools } from "../../../src/database/pools.ts";
import type { EntryWriter, EntryWriterLimits } from "../../../src/entries/entry-writer.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createWritePath } from "../../support/write-path.ts";
import type { BenchmarkDatabase } from "./database.ts";

/** The write path without its RPCs, assembled as in `src/service.ts`. */
export interface InProcessWriter extends AsyncDisposable {
  readonly writer: EntryWriter;
}

/** @param overrides limits that differ from the defaults of the configuration */
export function createInProcessWriter(
  database: BenchmarkDatabase,
  overrides: Partial<EntryWriterLimits> = {},
): InProcessWriter {
  const log = createLog("error");
  const config = readConfig({ DATABASE_URL: database.url });
  const limits = { ...config.writing, ...overrides };
  const pools = createPools(database.url, config.databasePools, limits.maxStatements, log);
  const { writer, notifications } = createWritePath({
    pool: pools.probes,
    writePools: pools.writes,
    databaseUrl: database.url,
    limits,
    recentEntries: config.recentEntries,
    log,
  });
  notifications.start();
  return {
    writer,
    async [Symbol.asyncDispose]() {
      await writer.drain();
      await notifications.close();
      await endPools(pools);
    },
  };
}
