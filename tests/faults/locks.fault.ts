import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type pg from "pg";
import { expect, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { bucketMicros } from "../../src/aggregates/bucket.ts";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report, seededRandom } from "./fault-run.ts";
import { createRequest, Ledger, type SentEntry } from "./ledger.ts";
import { startLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { waitForBlocked } from "./wait-for-blocked.ts";

// Another client begins a transaction that blocks the entries of a learner, and does not end it. Only calls that need
// the lock wait. The bystander, and other learners under load, are answered meanwhile.

const database = useTestDatabase();
const random = seededRandom("locks");

/** The longest wait of calls that do not need the lock. It applies as soon as the lock is taken. */
const neighbourWaitMs = 2_000;

const lockedMs = isLongForm ? 10_000 : 4_000;

/** The timeout of a call that needs the lock. The timeouts of its statements are shorter. */
const stuckTimeoutMs = 60_000;

interface Lock {
  readonly name: string;
  /** Takes the lock in the client's transaction. */
  lock(client: pg.Client, first: SentEntry): Promise<unknown>;
  /** @returns an entry that has to wait for the lock */
  blockedEntry(first: SentEntry): SentEntry;
}

const locks: readonly Lock[] = [
  {
    name: "an aggregate of a learner is locked",
    lock: (client, { userId }) =>
      client.query("UPDATE learning_log_aggregates SET entry_count = entry_count WHERE user_id = $1", [
        userId,
      ]),
    blockedEntry: (first) => ({ ...first, requestId: randomUUID() }),
  },
  {
    name: "the entries of a learner are being deleted",
    lock: (client, { userId }) => client.query("DELETE FROM learning_log WHERE user_id = $1", [userId]),
    blockedEntry: (first) => first,
  },
  {
    name: "an entry with the same request_id is being recorded",
    lock: (client, { requestId }) =>
      client.query(
        "INSERT INTO learning_log (request_id, user_id, word_count, timestamp) VALUES ($1, 'somebody', 1, now())",
        [opposite(requestId)],
      ),
    blockedEntry: (first) => ({ ...first, requestId: opposite(first.requestId) }),
  },
  {
    name: "the first entry of a learner in a quarter of an hour is being recorded",
    lock: (client, { userId, timestamp }) =>
      client.query(
        `INSERT INTO learning_log_aggregates (user_id, bucket, total_word_count, entry_count)
        VALUES ($1, date_bin('15 minutes', timestamptz 'epoch' + $2 * interval '1 microsecond', 'epoch'), 1, 1)`,
        [userId, String(timestamp + bucketMicros)],
      ),
    blockedEntry: (first) => ({
      ...first,
      requestId: randomUUID(),
      timestamp: first.timestamp + bucketMicros,
    }),
  },
];

test.for(locks)(
  "only calls that need the lock wait while $name",
  { timeout: 240_000 },
  async ({ lock, blockedEntry }) => {
    // Without recent entries in memory, every call needs the database.
    await using service = await startServiceProcess({ DATABASE_URL: database.url, RECENT_ENTRIES: "0" });
    await database.pool.query("TRUNCATE learning_log, learning_log_aggregates");
    const scenario = { services: [service], databaseUrl: database.url, waitMs: neighbourWaitMs };
    await besideBystander(scenario, async (bystander) => {
      using stuck = openOwnClient(service.url);
      using others = openOwnClient(service.url);
      const first = newEntry();
      await stuck.learningLog.createEntry(createRequest(first));
      const ledger = new Ledger(random);
      const load = startLoad(others.learningLog, {
        ledger,
        random,
        continuesAfterFailure: true,
        singleCallers: 8,
        restMs: 100,
      });

      const outcomes = new Map<string, number>();
      let slowestMs = 0;
      const calls: Promise<void>[] = [];
      const callBlocked = async () => {
        const began = performance.now();
        const request = createRequest(blockedEntry(first));
        const outcome = await outcomeOf(
          stuck.learningLog.createEntry(request, { timeoutMs: stuckTimeoutMs }),
        );
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        slowestMs = Math.max(slowestMs, performance.now() - began);
      };
      await withConnection(database.url, async (connection) => {
        await connection.query("BEGIN");
        await lock(connection, first);
        for (let ms = 0; ms < lockedMs; ms += 250) {
          calls.push(callBlocked());
          await sleep(250);
        }
        await connection.query("ROLLBACK");
      });
      await Promise.all(calls);
      const { failures, slowestMs: neighboursMs } = await load.stop();
      report(
        `  blocked calls: ${[...outcomes].map((pair) => pair.join(" ")).join(", ")}; ${Math.round(slowestMs)} ms ` +
          `at most; other learners: ${ledger.acknowledgedEntries} entries, ${Math.round(neighboursMs)} ms at most`,
      );
      expect(failures.map(String)).toEqual([]);
      expect([...outcomes.keys()].filter((outcome) => outcome.startsWith("!"))).toEqual([]);
      expect(neighboursMs).toBeLessThan(bystander.scaled(neighbourWaitMs));
      // After the lock is released, a retry is answered.
      await callBlocked();
      await withConnection(database.url, async (connection) => {
        await ledger.expectAllThere(connection);
        await expectAggregatesMatchLog(connection);
      });
    });
  },
);

test("an instance soon records a learner's entries after another one freezes while it deletes them", {
  timeout: 240_000,
}, async () => {
  await using frozen = await startServiceProcess({ DATABASE_URL: database.url });
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  const scenario = { services: [service], databaseUrl: database.url, waitMs: neighbourWaitMs };
  await besideBystander(scenario, async () => {
    using deleting = openOwnClient(frozen.url);
    using others = openOwnClient(service.url);
    const first = newEntry();
    await others.learningLog.createEntry(createRequest(first));
    let deletion: Promise<void> | undefined;
    await withConnection(database.url, async (connection) => {
      await connection.query("BEGIN");
      await connection.query("SELECT FROM learning_log_aggregates WHERE user_id = $1 FOR UPDATE", [
        first.userId,
      ]);
      deletion = deleteAll(deleting.learningLog, first.userId);
      await waitForBlocked(connection);
      frozen.signal("SIGSTOP");
      // The first statement of the deletion succeeds, and the frozen instance sends no other one.
      await connection.query("ROLLBACK");
    });
    const began = performance.now();
    for (;;) {
      const request = createRequest({ ...first, requestId: randomUUID() });
      const outcome = await outcomeOf(others.learningLog.createEntry(request, { timeoutMs: stuckTimeoutMs }));
      expect(outcome.startsWith("!"), outcome).toBe(false);
      if (outcome === "OK") break;
      expect(performance.now() - began, "ms that a frozen transaction lasts").toBeLessThan(stuckTimeoutMs);
      await sleep(100);
    }
    report(`  the frozen transaction ended within ${Math.round(performance.now() - began)} ms`);
    frozen.signal("SIGCONT");
    await deletion;
    await withConnection(database.url, expectAggregatesMatchLog);
  });
});

/** Retries until the learner's entries are deleted. */
async function deleteAll(client: LearningLogClient, userId: string): Promise<void> {
  for (;;) {
    const deletion = client.deleteUserEntries({ userId }, { timeoutMs: stuckTimeoutMs });
    if ((await outcomeOf(deletion)) === "OK") return;
    await sleep(50);
  }
}

/** An entry of a new learner, with the current time. */
function newEntry(): SentEntry {
  const timestamp = BigInt(Date.now()) * 1000n;
  return { requestId: randomUUID(), userId: `stuck ${randomUUID()}`, wordCount: 1, timestamp };
}

/**
 * How a call ended. ALREADY_EXISTS and NOT_FOUND count as OK. Accepted errors are transient, have RetryInfo, and do not
 * report that the database is unavailable. Every other error gets an exclamation mark.
 */
async function outcomeOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => undefined,
    (reason) => ConnectError.from(reason),
  );
  if (error === undefined) return "OK";
  const { code } = error;
  if (code === Code.AlreadyExists || code === Code.NotFound) return "OK";
  const isTransient = code === Code.Unavailable || code === Code.ResourceExhausted || code === Code.Aborted;
  const hasRetryInfo = error.findDetails(RetryInfoSchema).length === 1;
  const reportsUnavailable = error.message.includes("the database is unavailable");
  return `${isTransient && hasRetryInfo && !reportsUnavailable ? "" : "! "}${Code[code]}: ${error.rawMessage}`;
}

/** Another request_id, which the given one determines. */
function opposite(requestId: string): string {
  return requestId.replace(/[0-9a-f]/g, (digit) => (15 - Number.parseInt(digit, 16)).toString(16));
}
