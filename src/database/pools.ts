import type { Log } from "../telemetry/log.ts";
import { type ConnectionPool, createPool, type PoolSettings } from "./pool.ts";
import { TroubleLog } from "./trouble-log.ts";

/** The service's connection pools: one for each kind of work, so that no kind can use up the connections of another. */
export interface Pools {
  /** For statements that add, change or delete entries. */
  readonly writes: WritePools;
  /** For lists, and for summaries that take milliseconds. */
  readonly reads: ConnectionPool;
  /** For summaries that may take seconds. */
  readonly largeReads: ConnectionPool;
  /** For the summaries of watches. */
  readonly watches: ConnectionPool;
  /** For checking whether the database can be used. */
  readonly probes: ConnectionPool;
}

/** The pools for writes. They differ in how long a statement waits for the lock of another transaction. */
export interface WritePools {
  /** For statements that write single entries of many learners. */
  readonly groups: ConnectionPool;
  /** For single entries of learners whose rows may be locked; a statement waits for a very short time. */
  readonly suspects: ConnectionPool;
  /** For single entries of one learner whose rows are locked; a statement waits for longer. */
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

/** The most concurrent deletions. */
const deletionConnections = 8;

/**
 * The most concurrent statements for learners whose rows are locked. The same limit applies separately to learners
 * whose rows may be locked.
 */
export const blockedConnections = 4;

/** The most callers that may wait, for each connection of a pool. */
const waitingPerConnection = 100;

/** One of this many connections for reads is for large reads. */
const readsPerLargeRead = 4;

/** The most connections for watches. Only two, so that a database on two processors keeps capacity for writes. */
const watchConnections = 2;

/**
 * The timeout of a statement for a small watched summary, which usually takes milliseconds. If the connection stops
 * responding, the watch queries again over another connection two seconds after this timeout.
 */
const watchTimeoutMs = 8_000;

/**
 * The most watches that may wait for a connection. Many, because each watch has an open stream, which takes far more
 * memory than a place in the queue.
 */
const waitingWatches = 10_000;

/** A database that does not answer a probe within this time counts as unavailable. */
const probeTimeoutMs = 5_000;

/** The timeout of a statement of a write. If the database does not answer, the call fails two seconds later. */
const writeTimeoutMs = 8_000;

/**
 * The lock timeout of a write. It is short, because the write blocks others that wait for its connection or for locks
 * that it holds. When the timeout expires, the write is rolled back.
 */
const sharedLockTimeoutMs = 300;

/** Very short, so that the learners whose rows are not locked are found quickly. */
const suspectLockTimeoutMs = 30;

/** Longer, because a statement that waits in the database continues as soon as the lock is released. */
const blockedLockTimeoutMs = 1_000;

/** Ends the transactions of an instance that has stalled, so that their locks do not block others for longer. */
const idleInTransactionTimeoutMs = 5_000;

/** @param maxGroups the most concurrent statements for single entries */
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
