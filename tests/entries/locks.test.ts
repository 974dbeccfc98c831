import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import type pg from "pg";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { createPools, endPools } from "../../src/database/pools.ts";
import { transaction } from "../../src/database/query.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { aggregatesOf, checkAggregatesAfterAll, expectAggregatesMatchLog } from "../support/aggregates.ts";
import { grpcClient, type LearningLogClient } from "../support/clients.ts";
import { connect, withConnection } from "../support/connection.ts";
import { failureOf } from "../support/failures.ts";
import { lockWrites } from "../support/table-locks.ts";
import { startOwnService, useTestService } from "../support/test-service.ts";

// Another transaction holds a lock. Calls that need the lock wait for a limited time. All other calls are served.

// The service remembers no entries, so that each write reaches the locks in the database.
const service = useTestService({ recentEntries: 0 });
checkAggregatesAfterAll(service.database);

const { pool } = service.database;
let client: LearningLogClient;

beforeAll(() => {
  client = grpcClient(service.url);
});

/** A lock must not delay other calls for longer than 2 seconds. The rest allows for a busy machine. */
const boundMs = 8_000;

const quarter = 1_709_208_000n;

type Entry = ReturnType<typeof entryOf>;

afterEach(() => withConnection(service.database.url, expectAggregatesMatchLog));

test.for([
  [
    "an uncommitted update of an aggregate",
    async ({ userId }: Entry, rival: pg.Client) => {
      await client.createEntry(entryOf(userId));
      await rival.query("BEGIN");
      await rival.query("UPDATE learning_log_aggregates SET entry_count = entry_count WHERE user_id = $1", [
        userId,
      ]);
    },
  ],
  [
    "an uncommitted insert of an aggregate",
    async ({ userId }: Entry, rival: pg.Client) => {
      await rival.query("BEGIN");
      await rival.query(
        `INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
        VALUES ($1, timestamptz 'epoch' + $2::bigint * interval '1 second', 1, 1)`,
        [userId, quarter],
      );
    },
  ],
  [
    "an uncommitted insert of the same request_id",
    async ({ userId, requestId }: Entry, rival: pg.Client) => {
      await rival.query("BEGIN");
      await rival.query("INSERT INTO learning_log VALUES ($1, $2, 1, now())", [requestId, userId]);
    },
  ],
  [
    "an uncommitted deletion of the same request_id",
    async (entry: Entry, rival: pg.Client) => {
      await client.createEntry(entry);
      await rival.query("BEGIN");
      await rival.query("DELETE FROM learning_log WHERE request_id = $1", [entry.requestId]);
    },
  ],
] as const)("%s delays only calls of the same learner", async ([, lock]) => {
  await using rival = await connect(service.database.url);
  const stuck = entryOf();
  await lock(stuck, rival);
  const stuckCalls = [client.createEntry(stuck)];
  let answered = false;
  const settled = Promise.allSettled(stuckCalls).then((outcomes) => {
    answered = true;
    return outcomes;
  });
  for (let round = 0; round < 5; round += 1) {
    const more = client.createEntry(entryOf(stuck.userId));
    // Whether this call succeeds depends on the kind of lock.
    more.catch(() => {});
    await expectServed(30);
  }
  expect(answered).toBe(false);
  await rival.query("ROLLBACK");
  const [outcome] = await settled;
  // After the rollback, the entry that was to be deleted still exists.
  if (outcome?.status === "rejected") {
    expect([Code.AlreadyExists, Code.ResourceExhausted]).toContain(outcome.reason.code);
  }
});

test("writes to many locked aggregates delay no other calls, and succeed once the lock is released", async () => {
  await using rival = await connect(service.database.url);
  const userIds = Array.from({ length: 300 }, () => randomUUID());
  await client.batchCreateEntries({ entries: userIds.map((userId) => entryOf(userId)) });
  await rival.query("BEGIN");
  await rival.query("SELECT FROM learning_log_aggregates WHERE user_id = ANY ($1) FOR UPDATE", [userIds]);
  const stuck = Promise.allSettled(userIds.map((userId) => client.createEntry(entryOf(userId))));
  for (let round = 0; round < 3; round += 1) await expectServed(30);
  await rival.query("COMMIT");
  expectPassedOrLate(await stuck);
  await expectServed(30);
});

test("writes to many aggregates that another transaction is inserting delay no other calls", async () => {
  await using rival = await connect(service.database.url);
  const userIds = Array.from({ length: 50 }, () => randomUUID());
  await rival.query("BEGIN");
  await rival.query(
    `INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
    SELECT user_id, timestamptz 'epoch' + $2::bigint * interval '1 second', 1, 1
    FROM unnest($1::text[]) AS user_id`,
    [userIds, quarter],
  );
  const stuck = Promise.allSettled(userIds.map((userId) => client.createEntry(entryOf(userId))));
  for (let round = 0; round < 3; round += 1) await expectServed(30);
  await rival.query("ROLLBACK");
  expectPassedOrLate(await stuck);
});

test("batches and deletions that wait for a lock delay no writes, batches or deletions of other learners", async () => {
  await using rival = await connect(service.database.url);
  const [stuck, shared] = [randomUUID(), randomUUID()];
  await client.batchCreateEntries({ entries: [entryOf(stuck), entryOf(shared)] });
  await rival.query("BEGIN");
  await rival.query("SELECT FROM learning_log_aggregates WHERE user_id = $1 FOR UPDATE", [stuck]);
  const blocked = [
    ...Array.from({ length: 10 }, () =>
      client.batchCreateEntries({ entries: [entryOf(shared), entryOf(), entryOf(stuck)] }),
    ),
    ...Array.from({ length: 10 }, () => client.deleteUserEntries({ userId: stuck })),
  ];
  const settled = Promise.allSettled(blocked);
  for (let round = 0; round < 5; round += 1) {
    const deleted = entryOf();
    await Promise.all([
      expectServed(30),
      // The batches lock this learner's aggregates while they wait.
      timed(client.createEntry(entryOf(shared))),
      timed(client.batchCreateEntries({ entries: [entryOf(), entryOf()] })),
      client.createEntry(deleted).then(() => timed(client.deleteEntry({ requestId: deleted.requestId }))),
    ]);
  }
  await rival.query("COMMIT");
  for (const outcome of await settled) {
    // The first deletion may leave nothing for the others. The rounds may take longer than calls wait for a lock.
    if (outcome.status === "rejected") {
      expect([Code.NotFound, Code.ResourceExhausted]).toContain(outcome.reason.code);
    }
  }
});

test("entries that wait for a lock take up at most half of the limit for pending entries", async () => {
  const writing = { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 40 };
  const own = grpcClient((await startOwnService(service.database.url, { writing })).url);
  await using rival = await connect(service.database.url);
  const userId = randomUUID();
  await own.createEntry(entryOf(userId));
  await rival.query("BEGIN");
  await rival.query("SELECT FROM learning_log_aggregates WHERE user_id = $1 FOR UPDATE", [userId]);
  let refused = 0;
  const stuck = Array.from({ length: 60 }, () =>
    own.createEntry(entryOf(userId)).catch((error) => {
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
      refused += 1;
    }),
  );
  await expect.poll(() => refused, { timeout: 20_000, interval: 10 }).toBe(40);
  await Promise.all(Array.from({ length: 20 }, () => timed(own.createEntry(entryOf()))));
  await rival.query("COMMIT");
  await Promise.all(stuck);
  expect(await aggregatesOf(pool, userId)).toMatchObject({ entries: 21 });
});

test("writes succeed as soon as a lock on the whole table is released", async () => {
  const before = await countRollbacks();
  await using lock = await lockWrites(service.database);
  const calls = [
    ...Array.from({ length: 40 }, () => client.createEntry(entryOf())),
    client.batchCreateEntries({ entries: [entryOf()] }),
  ];
  await lock.waitForBlocked(3);
  // Two groups and a batch have timed out on the lock, and are waiting again.
  await expect.poll(countRollbacks, { timeout: 20_000 }).toBeGreaterThanOrEqual(before + 6);
  await lock.release();
  await Promise.all(calls.map(timed));
});

describe.concurrent("while a lock is held for long,", () => {
  test("an entry, a batch and deletions that need it fail with RESOURCE_EXHAUSTED and RetryInfo", async () => {
    await using rival = await connect(service.database.url);
    const userId = randomUUID();
    const known = entryOf(userId);
    await client.createEntry(known);
    await rival.query("BEGIN");
    await rival.query("SELECT FROM learning_log_aggregates WHERE user_id = $1 FOR UPDATE", [userId]);
    const [entry, batch] = [entryOf(userId), [entryOf(userId)]];
    const errors = await Promise.all(
      [
        client.createEntry(entry),
        client.batchCreateEntries({ entries: batch }),
        client.deleteEntry({ requestId: known.requestId }),
        client.deleteUserEntries({ userId }),
      ].map(failureOf),
    );
    for (const error of errors) {
      expect(error).toMatchObject({ code: Code.ResourceExhausted });
      expect(error.rawMessage).toMatch(/lock/);
      expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
    }
    await rival.query("COMMIT");
    expect(await client.createEntry(entry)).toMatchObject({ alreadyExisted: false });
    expect(await client.batchCreateEntries({ entries: batch })).toMatchObject({ createdCount: 1 });
  });

  test("calls that reach their deadline leave no statement behind, and record nothing", async () => {
    await using rival = await connect(service.database.url);
    const userId = randomUUID();
    await client.createEntry(entryOf(userId));
    await rival.query("BEGIN");
    await rival.query("SELECT FROM learning_log_aggregates WHERE user_id = $1 FOR UPDATE", [userId]);
    const { rows } = await rival.query("SELECT pg_backend_pid() AS pid");
    const rivalPid = rows[0].pid;
    const calls = [
      client.createEntry(entryOf(userId), { timeoutMs: 1500 }),
      client.batchCreateEntries({ entries: [entryOf(userId)] }, { timeoutMs: 1500 }),
    ];
    for (const error of await Promise.all(calls.map(failureOf))) {
      expect(error).toMatchObject({ code: Code.DeadlineExceeded });
    }
    const countWaiting = async () => (await pool.query(waitingStatements, [rivalPid])).rowCount;
    await expect.poll(countWaiting, { timeout: 20_000, interval: 50 }).toBe(0);
    await rival.query("COMMIT");
    expect(await aggregatesOf(pool, userId)).toMatchObject({ entries: 1 });
  });

  test("a stalled instance loses the lock, so the waiting call succeeds, and other calls are not delayed", async () => {
    const pools = createPools(service.database.url, { reads: 1, writes: 1 }, 1, createLog("silent"));
    const userId = randomUUID();
    await client.createEntry(entryOf(userId));
    const frozen = Promise.withResolvers<void>();
    const locked = Promise.withResolvers<void>();
    const standing = transaction(pools.writes.deletions, async (connection) => {
      await connection.query("DELETE FROM learning_log WHERE user_id = $1", [userId]);
      await connection.query("DELETE FROM learning_log_aggregates WHERE user_id = $1", [userId]);
      locked.resolve();
      await frozen.promise;
    });
    await locked.promise;
    const stuck = client.createEntry(entryOf(userId));
    for (let round = 0; round < 5; round += 1) await expectServed(30);
    await stuck;
    frozen.resolve();
    expect(await failureOf(standing)).toMatchObject({ code: Code.Unavailable });
    await endPools(pools);
    expect(await aggregatesOf(pool, userId)).toMatchObject({ entries: 2 });
  });
});

const waitingStatements = `
  SELECT
  FROM pg_stat_activity
  WHERE $1 = ANY (pg_blocking_pids(pid))`;

/** The number of rolled-back transactions. The database updates it with a delay of up to a second. */
async function countRollbacks(): Promise<number> {
  const { rows } = await pool.query(
    "SELECT xact_rollback::integer AS count FROM pg_stat_database WHERE datname = current_database()",
  );
  return rows[0].count;
}

/** Records this many entries of other learners concurrently, each within {@link boundMs}. */
async function expectServed(count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => timed(client.createEntry(entryOf()))));
}

/** Calls may also be too late: on a busy machine, the rounds may take longer than a call waits for a lock. */
function expectPassedOrLate(outcomes: readonly PromiseSettledResult<unknown>[]): void {
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: Code.ResourceExhausted });
  }
}

async function timed(call: Promise<unknown>): Promise<void> {
  const start = performance.now();
  await call;
  expect(performance.now() - start, "milliseconds until the response").toBeLessThan(boundMs);
}

function entryOf(userId = randomUUID() as string) {
  return { requestId: randomUUID() as string, userId, wordCount: 1, timestamp: { seconds: quarter } };
}
