import { readConfig } from "../../../src/config.ts";
import { Notifications } from "../../../src/database/notifications.ts";
import { createPool } from "../../../src/database/pool.ts";
import { EntryWriter, type EntryWriterLimits } from "../../../src/entries/entry-writer.ts";
import { RecentEntries } from "../../../src/entries/recent-entries.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import type { BenchmarkDatabase } from "./database.ts";

/** The write path without the calls around it, put together as `src/service.ts` does. */
export interface InProcessWriter extends AsyncDisposable {
  readonly writer: EntryWriter;
}

/** @param overrides limits other than the defaults of the configuration */
export function createInProcessWriter(
  database: BenchmarkDatabase,
  overrides: Partial<EntryWriterLimits> = {},
): InProcessWriter {
  const log = createLog("error");
  const config = readConfig({ DATABASE_URL: database.url });
  const pool = createPool(database.url, config.databasePoolSize, log);
  const notifications = new Notifications(database.url, log);
  const recent = new RecentEntries(notifications, config.recentEntries);
  notifications.start();
  const writer = new EntryWriter(pool, recent, { ...config.writing, ...overrides });
  return {
    writer,
    async [Symbol.asyncDispose]() {
      await writer.drain();
      await notifications.close();
      await pool.end();
    },
  };
}
