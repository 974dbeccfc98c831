import { LearnerChanges } from "../../src/changes/learner-changes.ts";
import { WatchedLearners } from "../../src/changes/watched-learners.ts";
import type { Clock } from "../../src/clock.ts";
import { Notifications } from "../../src/database/notifications.ts";
import type { ConnectionPool } from "../../src/database/pool.ts";
import type { WritePools } from "../../src/database/pools.ts";
import { EntryWriter, type EntryWriterLimits } from "../../src/entries/entry-writer.ts";
import { RecentEntries } from "../../src/entries/recent-entries.ts";
import type { Log } from "../../src/telemetry/log.ts";

/** The write path without its RPCs, assembled as in `src/service.ts`. */
export interface WritePath {
  readonly writer: EntryWriter;
  readonly changes: LearnerChanges;
  /** Not started. Until it is, nothing is answered from memory, and every write is announced. */
  readonly notifications: Notifications;
}

interface WritePathOptions {
  readonly pool: ConnectionPool;
  /** The pools for writes. Default: all writes use `pool`. */
  readonly writePools?: WritePools;
  readonly databaseUrl: string;
  readonly limits: EntryWriterLimits;
  readonly recentEntries: number;
  /** The interval at which an instance publishes its watches again, in milliseconds. */
  readonly repeatWatchesMs?: number;
  readonly clock?: Clock;
  readonly log: Log;
}

export function createWritePath(options: WritePathOptions): WritePath {
  const { pool, databaseUrl, limits, recentEntries, repeatWatchesMs, clock, log } = options;
  const notifications = new Notifications(databaseUrl, log, { ...(clock && { clock }) });
  const recent = new RecentEntries(notifications, recentEntries);
  const watched = new WatchedLearners(notifications, {
    ...(repeatWatchesMs && { repeatMs: repeatWatchesMs }),
    ...(clock && { clock }),
  });
  const changes = new LearnerChanges(notifications, watched);
  const pools = options.writePools ?? {
    groups: pool,
    suspects: pool,
    blocked: pool,
    batches: pool,
    deletions: pool,
  };
  return { writer: new EntryWriter({ pools, changes, recent }, limits), changes, notifications };
}
