import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test, vi } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { timestampFromMicros } from "../../src/database/timestamps.ts";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import { installClock, setClock } from "../support/database-clock.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, seededRandom } from "./fault-run.ts";
import { Ledger } from "./ledger.ts";
import { startLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";

// The service memoizes summaries of closed periods. A memoized summary has every committed entry, however long the
// commit took, and however the database's clock was set meanwhile.

const database = useTestDatabase();
const random = seededRandom("closed summaries");
const hourMs = 3_600_000;
const rounds = isLongForm ? 3 : 1;

/** The last closed hour, by the clock of the service, too. */
const hour = new Date(Math.floor(Date.now() / hourMs) * hourMs - hourMs);

beforeAll(async () => {
  await installClock(database.pool);
  // A commit waits while its learner is in this table, as it would for an unreachable synchronous standby.
  await database.pool.query(`
    CREATE TABLE held_up (user_id text PRIMARY KEY);
    CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      WHILE EXISTS (SELECT FROM public.held_up WHERE user_id = NEW.user_id) LOOP
        PERFORM pg_sleep(0.02);
      END LOOP;
      RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER hold_up AFTER INSERT ON learning_log DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION hold_up()`);
});

interface Fault {
  readonly name: string;
  /** Injects the fault, and records an entry of the hour. */
  inject(userId: string, write: () => Promise<void>, summarize: () => Promise<bigint[]>): Promise<void>;
}

const faults: readonly Fault[] = [
  {
    name: "a commit hangs until long after the end of the period",
    async inject(userId, write, summarize) {
      await setClock(database.pool, new Date(hour.getTime() + hourMs - 20_000));
      await waitForHeartbeats();
      await database.pool.query("INSERT INTO held_up VALUES ($1)", [userId]);
      const writing = write();
      await vi.waitFor(async () => {
        const { rowCount } = await database.pool.query(
          "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
        );
        expect(rowCount).toBeGreaterThan(0);
      }, 10_000);
      await setClock(database.pool, new Date(hour.getTime() + 3 * hourMs));
      for (let times = 0; times < 5; times += 1) {
        await waitForHeartbeats();
        expect(new Set(await summarize())).toEqual(new Set([0n]));
      }
      await database.pool.query("DELETE FROM held_up");
      await writing;
    },
  },
  {
    name: "the database's clock goes back by hours",
    async inject(_, write, summarize) {
      await setClock(database.pool, new Date(hour.getTime() + 3 * hourMs));
      for (let times = 0; times < 5; times += 1) {
        await waitForHeartbeats();
        expect(new Set(await summarize())).toEqual(new Set([0n]));
      }
      await setClock(database.pool, new Date(hour.getTime() + hourMs - 20_000));
      await write();
    },
  },
];

test.for(faults)(
  "a memoized summary has every committed entry when $name",
  { timeout: 120_000 },
  async ({ inject }) => {
    await using one = await startServiceProcess({ DATABASE_URL: database.url });
    await using other = await startServiceProcess({ DATABASE_URL: database.url });
    await besideBystander({ services: [one, other], databaseUrl: database.url }, async () => {
      using writer = openOwnClient(one.url);
      using reader = openOwnClient(other.url);
      const clients = [writer.learningLog, reader.learningLog];
      const ledger = new Ledger(random);
      const load = startLoad(reader.learningLog, {
        ledger,
        random,
        continuesAfterFailure: true,
        singleCallers: 8,
        restMs: 200,
      });
      for (let round = 0; round < rounds; round += 1) {
        const userId = `closed ${randomUUID()}`;
        const write = async () => {
          const timestamp = timestampFromMicros(BigInt(hour.getTime() + hourMs - 15_000) * 1000n);
          const entry = { requestId: randomUUID(), userId, wordCount: 1, timestamp };
          await writer.learningLog.createEntry(entry, { timeoutMs: 60_000 });
        };
        const summarize = () => Promise.all(clients.map((client) => countInHour(client, userId)));
        await inject(userId, write, summarize);
        expect(await countInHour(writer.learningLog, userId), "at the instance that wrote").toBe(1n);
        // For up to half a second, the lease, the other instance may still answer from its memo.
        await sleep(500);
        for (let times = 0; times < 3; times += 1) {
          expect(await summarize()).toEqual([1n, 1n]);
          await waitForHeartbeats();
        }
      }
      const { failures } = await load.stop();
      expect(failures.map(String)).toEqual([]);
      await withConnection(database.url, async (connection) => {
        await ledger.expectAcknowledgedThere(connection);
        await expectAggregatesMatchLog(connection);
      });
    });
  },
);

async function countInHour(client: LearningLogClient, userId: string): Promise<bigint> {
  const from = { seconds: BigInt(hour.getTime() / 1000) };
  const request = { userId, granularity: Granularity.HOUR, from, to: from };
  const { periods } = await client.getSummary(request, { timeoutMs: 20_000 });
  return periods.reduce((sum, { entryCount }) => sum + entryCount, 0n);
}

/** Waits for a few heartbeats. From them, every instance learns the database's clock, and which time is settled. */
async function waitForHeartbeats(): Promise<void> {
  await sleep(600);
}
