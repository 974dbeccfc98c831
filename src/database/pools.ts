import type { Log } from "../telemetry/log.ts";
import { type ConnectionPool, createPool } from "./pool.ts";

/** The connections of the service. Each kind of work has its own, so that none can take those of another. */
export interface Pools {
  /** For what adds, changes or deletes entries. */
  readonly writes: ConnectionPool;
  /** For summaries and lists. */
  readonly reads: ConnectionPool;
  /** For finding out whether the database can be used. */
  readonly probes: ConnectionPool;
}

export interface PoolSizes {
  readonly writes: number;
  readonly reads: number;
}

/** How many callers may wait for each connection. */
const waitingPerConnection = 100;

/** A database that does not answer a probe for this long is as good as away. */
const probeTimeoutMs = 5_000;

export function createPools(connectionString: string, sizes: PoolSizes, log: Log): Pools {
  const writes = {
    purpose: "writes",
    size: sizes.writes,
    maxWaiting: waitingPerConnection * sizes.writes,
    refusal: "too many writes are under way",
  };
  const reads = {
    purpose: "reads",
    size: sizes.reads,
    maxWaiting: waitingPerConnection * sizes.reads,
    refusal: "too many reads are under way",
  };
  const probes = {
    purpose: "probes",
    size: 1,
    maxWaiting: 1,
    refusal: "another probe is under way",
    statementTimeoutMs: probeTimeoutMs,
  };
  return {
    writes: createPool(connectionString, writes, log),
    reads: createPool(connectionString, reads, log),
    probes: createPool(connectionString, probes, log),
  };
}

export async function endPools({ writes, reads, probes }: Pools): Promise<void> {
  await Promise.all([writes.end(), reads.end(), probes.end()]);
}
