import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import type pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { bucketMicros } from "../../src/aggregates/bucket.ts";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report, seededRandom } from "./fault-run.ts";
import { createRequest, type SentEntry } from "./ledger.ts";
import { openOwnClient } from "./own-client.ts";

// Two instances write and delete the same few entries in opposite order, while another client locks the aggregates in
// reverse order. PostgreSQL resolves the conflicts with lock waits and deadlock errors. No caller may notice them.

const random = seededRandom("contention");
const durationMs = isLongForm ? 60_000 : 5_000;
const userIds = ["Ada", "Blaise", "Charles"] as const;
const earliest = 1_760_000_000_000_000n;

const buckets = 16;

/** Both instances write these. An entry always has the same learner and the same bucket. */
const entries: readonly SentEntry[] = Array.from({ length: 480 }, (_, index) => ({
  requestId: randomUUID(),
  userId: userIds[index % userIds.length] ?? userIds[0],
  wordCount: index,
  timestamp: earliest + BigInt(random.integer(0, buckets - 1)) * bucketMicros,
}));

const allowed: ReadonlySet<Code> = new Set([Code.AlreadyExists, Code.NotFound]);

const database = useTestDatabase();
const services: ServerProcess[] = [];

beforeAll(async () => {
  for (let instance = 0; instance < 2; instance += 1) {
    const url = new URL(database.url);
    // PostgreSQL detects deadlocks early, so that more of them occur.
    url.searchParams.set("options", "-c deadlock_timeout=10ms");
    services.push(await startServiceProcess({ DATABASE_URL: url.href, WRITE_STATEMENTS: "4" }));
  }
});

afterAll(async () => {
  await Promise.all(services.map((service) => service[Symbol.asyncDispose]()));
});

test(
  "callers get no error when two instances write the same entries in opposite order",
  { timeout: durationMs + 60_000 },
  () =>
    besideBystander({ services, databaseUrl: database.url }, async () => {
      using connections = new DisposableStack();
      const answers = new Map<string, number>();
      const until = performance.now() + durationMs;
      const rival = withConnection(database.url, lockInReverse);
      await Promise.all(
        services.flatMap(({ url }, instance) => {
          const client = connections.use(openOwnClient(url)).learningLog;
          const ordered = instance === 0 ? entries : entries.toReversed();
          return [
            ...Array.from({ length: 2 }, () => repeat("CreateEntry", () => createGroup(client, ordered))),
            ...Array.from({ length: 3 }, () =>
              repeat("BatchCreateEntries", () => createBatch(client, ordered)),
            ),
            ...Array.from({ length: 6 }, () =>
              repeat("DeleteEntry", () => client.deleteEntry({ requestId: anyEntry().requestId }, deadline)),
            ),
            ...[...userIds, ...userIds, ...userIds].map((userId) =>
              repeat("DeleteUserEntries", () => client.deleteUserEntries({ userId }, deadline)),
            ),
            repeat("ListEntries", () => client.listEntries({ userId: anyEntry().userId }, deadline)),
          ];
        }),
      );
      await rival;
      report(`  answers: ${[...answers].map((pair) => pair.join(" ")).join(", ")}`);
      const unexpected = [...answers.keys()].filter((answer) => answer.includes("!"));
      expect(unexpected).toEqual([]);
      await withConnection(database.url, async (connection) => {
        const { rows } = await connection.query(`
      SELECT application_name, state, query
      FROM pg_stat_activity
      WHERE datname = current_database() AND state LIKE 'idle in transaction%'`);
        expect(rows).toEqual([]);
        await expectAggregatesMatchLog(connection);
      });
      if (isLongForm) {
        // PostgreSQL updates its statistics with a delay.
        const deadlocks = await vi.waitUntil(countDeadlocks, 15_000);
        report(`  PostgreSQL resolved ${deadlocks} deadlocks`);
      }

      /**
       * Locks the aggregates in an order that the service never uses. In a deadlock, PostgreSQL cancels the statement
       * of the service, because this connection waits for longer before it checks for deadlocks.
       */
      async function lockInReverse(connection: pg.Client): Promise<void> {
        await connection.query("SET deadlock_timeout = '5s'");
        while (performance.now() < until) {
          await connection.query("BEGIN");
          for (let bucket = buckets - 1; bucket >= 0; bucket -= 1) {
            await connection.query(
              "SELECT FROM learning_log_aggregates WHERE bucket = timestamptz 'epoch' + $1 * interval '1 microsecond' FOR UPDATE",
              [earliest + BigInt(bucket) * bucketMicros],
            );
            await sleep(5);
          }
          await connection.query("COMMIT");
          await sleep(random.integer(0, 100));
        }
      }

      /** Repeats a call until the time is up, and counts the outcomes. */
      async function repeat(method: string, call: () => Promise<unknown>): Promise<void> {
        while (performance.now() < until) {
          const answer = await call().then(
            () => "OK",
            (error) => nameOf(ConnectError.from(error)),
          );
          const key = `${method} ${answer}`;
          answers.set(key, (answers.get(key) ?? 0) + 1);
        }
      }
    }),
);

const deadline = { timeoutMs: 30_000 };

/**
 * Creates single entries concurrently, so that the service writes them in groups.
 *
 * @throws the first error that is not allowed
 */
async function createGroup(client: LearningLogClient, ordered: readonly SentEntry[]): Promise<void> {
  const calls = pickSome(ordered, 40).map((entry) => client.createEntry(createRequest(entry), deadline));
  const failures = (await Promise.allSettled(calls)).flatMap((call) =>
    call.status === "rejected" ? ConnectError.from(call.reason) : [],
  );
  const [failure] = failures.filter(({ code }) => !allowed.has(code));
  if (failure) throw failure;
}

async function createBatch(client: LearningLogClient, ordered: readonly SentEntry[]): Promise<void> {
  const requests = pickSome(ordered, 120).map(createRequest);
  const { duplicates } = await client.batchCreateEntries({ entries: requests }, deadline);
  expect(duplicates.filter(({ conflict }) => !conflict?.payloadMatches)).toEqual([]);
}

/** Picks about this many of the entries, in the same order. */
function pickSome(ordered: readonly SentEntry[], count: number): SentEntry[] {
  return ordered.filter(() => random.fraction() * ordered.length < count);
}

function anyEntry(): SentEntry {
  const entry = entries[random.integer(0, entries.length - 1)];
  if (entry === undefined) throw new Error("there are no entries");
  return entry;
}

/** The name of an error, with an exclamation mark if no caller may get it. */
function nameOf({ code, message }: ConnectError): string {
  return allowed.has(code) ? `${Code[code]}` : `! ${message}`;
}

async function countDeadlocks(): Promise<number> {
  const { rows } = await database.pool.query<{ deadlocks: string }>(
    "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
  );
  return Number(rows[0]?.deadlocks);
}
