import type { Log } from "../telemetry/log.ts";
import { type ConnectionPool, createPool, type PoolSettings } from "./pool.ts";
import { TroubleLog } from "./trouble-log.ts";

/** The connections of the service. Each kind of work has its own, so that none can take those of another. */
export interface Pools {
  /** For what adds, changes or deletes entries. */
  readonly writes: WritePools;
  /** For lists, and for summaries that take milliseconds. */
  readonly reads: ConnectionPool;
  /** For summaries that may take seconds. */
  readonly largeReads: ConnectionPool;
  /** For the summaries of watches. */
  readonly watches: ConnectionPool;
  /** For finding out whether the database can be used. */
  readonly probes: ConnectionPool;
}

/** The connections for writes. They differ in how long a statement waits for the lock of another transaction. */
export interface WritePools {
  /** For the statements that write single entries of many learners. */
  readonly groups: ConnectionPool;
  /** For single entries of one learner whose rows may be locked; a statement hardly waits. */
  readonly suspects: ConnectionPool;
  /** For single entries of one learner whose rows are locked; a statement waits for a while. */
  readonly blocked: ConnectionPool;
  /** For batches. */
  readonly batches: ConnectionPool;
  readonly deletions: ConnectionPool;
}

export interface PoolSizes {
  /** For batches. */
  readonly writes: number;
  /** For {@link Pools.reads} and {@link Pools.largeReads} together; at least 2. */
  readonly reads: number;
}

/** How many deletions are under way at once. */
const deletionConnections = 8;

/** How many statements are under way at once for learners whose rows are locked, and for those whose rows may be. */
export const blockedConnections = 4;

/** How many callers may wait for each connection. */
const waitingPerConnection = 100;

/** One of so many connections for reads is for large ones. */
const readsPerLargeRead = 4;

/** Two statements for watchers at a time leave a database on two processors room for those who write. */
const watchConnections = 2;

/**
 * The longest that one statement of a small watch may run. It usually takes milliseconds. If its connection fell silent,
 * the watch asks again over another one two seconds later.
 */
const watchTimeoutMs = 8_000;

/** Who watches has a stream open all the while, beside which a place in a line takes no memory. */
const waitingWatches = 10_000;

/** A database that does not answer a probe for this long is as good as away. */
const probeTimeoutMs = 5_000;

/** The longest that one statement of a write may run. Its call fails two seconds later. */
const writeTimeoutMs = 8_000;

/**
 * How long a write waits for a lock. It holds up others meanwhile, who wait for its connection or for its own locks, so
 * it gives up soon; what it did until then is undone.
 */
const sharedLockTimeoutMs = 300;

/** Those who are not locked are to be found quickly. */
const suspectLockTimeoutMs = 30;

/** Whoever waits in the database passes as soon as the lock is released. */
const blockedLockTimeoutMs = 1_000;

/** A transaction of an instance that stands still is ended, so that its locks hold up nobody for longer. */
const idleInTransactionTimeoutMs = 5_000;

/** @param maxGroups how many statements for single entries may be under way at once */
export function createPools(connectionString: string, sizes: PoolSizes, maxGroups: number, log: Log): Pools {
  const troubles = new TroubleLog(log);
  const create = (settings: PoolSettings) => createPool(connectionString, settings, log, troubles);
  const writes = (purpose: string, size: number, lockTimeoutMs: number) =>
    create({
      purpose,
      size,
      maxWaiting: waitingPerConnection * size,
      refusal: "too many writes are under way",
      statementTimeoutMs: writeTimeoutMs,
      lockTimeoutMs,
      idleInTransactionTimeoutMs,
    });
  const largeReads = Math.max(1, Math.floor(sizes.reads / readsPerLargeRead));
  const smallReads = sizes.reads - largeReads;
  return {
    writes: {
      groups: writes("writes", maxGroups, sharedLockTimeoutMs),
      suspects: writes("suspects", blockedConnections + maxGroups, suspectLockTimeoutMs),
      blocked: writes("blocked writes", blockedConnections, blockedLockTimeoutMs),
      batches: writes("batches", sizes.writes, sharedLockTimeoutMs),
      deletions: writes("deletions", deletionConnections, sharedLockTimeoutMs),
    },
    reads: create({
      purpose: "reads",
      size: smallReads,
      maxWaiting: waitingPerConnection * smallReads,
      refusal: "too many reads are under way",
    }),
    largeReads: create({
      purpose: "large reads",
      size: largeReads,
      maxWaiting: waitingPerConnection * largeReads,
      refusal: "too many summaries of long ranges are under way",
    }),
    watches: create({
      purpose: "watches",
      size: watchConnections,
      maxWaiting: waitingWatches,
      refusal: "too many summaries are being watched",
      statementTimeoutMs: watchTimeoutMs,
    }),
    probes: create({
      purpose: "probes",
      size: 1,
      maxWaiting: 1,
      refusal: "another probe is under way",
      statementTimeoutMs: probeTimeoutMs,
    }),
  };
}

export async function endPools({ writes, ...others }: Pools): Promise<void> {
  const pools: ConnectionPool[] = [...Object.values(writes), ...Object.values(others)];
  await Promise.all(pools.map((pool) => pool.end()));
}
