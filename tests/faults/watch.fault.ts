import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LearningLogClient } from "../support/clients.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, report, seededRandom } from "./fault-run.ts";
import { FollowedWatch } from "./followed-watch.ts";
import { Ledger } from "./ledger.ts";
import { runLoad } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { expectRecountClean, waitForBlocked, withConnection } from "./recount.ts";
import { startServiceChild } from "./service-child.ts";
import { makeSummariesSlow, slowSummaryRequest } from "./slow-summaries.ts";

// A watch shows every entry, however long that takes to be recorded, and whatever its instance goes through meanwhile.

const random = seededRandom("watch");

/** From the commit on. */
const noticeMs = 3_000;

/** Others believe for half a minute what an instance says. */
const forgottenMs = 36_000;

const slowMs = isLongForm ? 4_000 : 2_000;

describe("writes under way when a watch begins", () => {
  const database = useTestDatabase();

  // Between the log and the aggregates, where a statement also waits for a lock.
  beforeAll(() =>
    database.pool.query(`
      CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF NEW.user_id LIKE 'slow %' THEN
          PERFORM pg_sleep(${slowMs / 1000});
        END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER take_long BEFORE INSERT ON learning_log_aggregates
        FOR EACH ROW EXECUTE FUNCTION take_long()`),
  );

  test("a watch begins while an entry is being recorded", { timeout: 120_000 }, async () => {
    await using one = await startServiceChild({ DATABASE_URL: database.url });
    await using other = await startServiceChild({ DATABASE_URL: database.url });
    await besideBystander({ services: [one, other], databaseUrl: database.url }, async () => {
      using clients = openOwnClient(one.url);
      using others = openOwnClient(other.url);
      const client = clients.learningLog;
      await underLoad(others.learningLog, async () => {
        for (let round = 0; round < (isLongForm ? 10 : 2); round += 1) {
          const slow = `slow ${randomUUID()}`;
          const waiting = `waiting ${randomUUID()}`;
          await write(client, waiting);
          const watches: FollowedWatch[] = [];
          let writing: Promise<void>[] = [];
          await withConnection(database.url, async (connection) => {
            await connection.query("BEGIN");
            await connection.query(
              "UPDATE learning_log_aggregates SET entry_count = entry_count WHERE user_id = $1",
              [waiting],
            );
            writing = [write(client, waiting), write(client, slow)];
            await waitForBlocked(connection);
            await sleep(200);
            for (const each of [client, others.learningLog]) {
              for (const userId of [waiting, slow]) watches.push(await FollowedWatch.open(each, userId));
            }
            await sleep(slowMs / 2);
            await connection.query("ROLLBACK");
          });
          await Promise.all(writing);
          for (const watch of watches) {
            await watch.waitFor(watch.userId === waiting ? 2 : 1, noticeMs);
            await watch.close();
          }
        }
      });
      await withConnection(database.url, expectRecountClean);
    });
  });
});

describe("instances that cannot say whom they watch", () => {
  const database = useTestDatabase();
  const role = `busy_${randomUUID().replaceAll("-", "_")}`;
  const password = randomUUID();

  beforeAll(async () => {
    await database.pool.query(`CREATE ROLE ${role} SUPERUSER LOGIN PASSWORD '${password}'`);
    await makeSummariesSlow(database.pool, 25, role);
  });

  afterAll(async () => {
    await database.pool.query(
      `ALTER ROLE ${role} IN DATABASE ${new URL(database.url).pathname.slice(1)} RESET ALL`,
    );
    await database.pool.query(`DROP ROLE ${role}`);
  });

  test("one stands still and one is busy for so long that the others forget them", {
    timeout: 240_000,
  }, async () => {
    const busyUrl = new URL(database.url);
    busyUrl.username = role;
    busyUrl.password = password;
    await using busy = await startServiceChild({ DATABASE_URL: busyUrl.href });
    await using still = await startServiceChild({ DATABASE_URL: database.url });
    await using other = await startServiceChild({ DATABASE_URL: database.url });
    // Neither of the two can serve a bystander in time, only those who watch.
    await besideBystander({ services: [other], databaseUrl: database.url }, async () => {
      using writing = openOwnClient(other.url);
      using watchingStill = openOwnClient(still.url);
      using watchingBusy = openOwnClient(busy.url);
      using reading = openOwnClient(busy.url);
      const watches: FollowedWatch[] = [];
      for (const { learningLog } of [watchingStill, watchingBusy]) {
        for (let watch = 0; watch < 10; watch += 1)
          watches.push(await FollowedWatch.open(learningLog, `watched ${randomUUID()}`));
      }
      let written = 0;
      const writeAll = async () => {
        for (const { userId } of watches) await write(writing.learningLog, userId);
        written += 1;
      };
      // What they read again at their beginning is over.
      await sleep(2_000);
      const readers = new AbortController();
      const reads = Array.from({ length: 60 }, async (_, reader) => {
        while (!readers.signal.aborted) {
          const options = { timeoutMs: 30_000, signal: readers.signal };
          await reading.learningLog.getSummary(slowSummaryRequest(`slow ${reader}`), options).catch(() => {});
          await sleep(100);
        }
      });
      await underLoad(writing.learningLog, async () => {
        still.process.kill("SIGSTOP");
        await sleep(forgottenMs);
        await writeAll();
        await sleep(1_000);
        still.process.kill("SIGCONT");
        readers.abort();
      });
      const resumed = performance.now();
      for (const watch of watches) await watch.waitFor(written, noticeMs);
      report(`  ${watches.length} watches were right after ${Math.round(performance.now() - resumed)} ms`);
      await Promise.all(reads);
      for (const watch of watches) await watch.close();
      await withConnection(database.url, expectRecountClean);
    });
  });
});

/** Other learners write meanwhile; all of it must be there in the end. */
async function underLoad(client: LearningLogClient, body: () => Promise<void>): Promise<void> {
  const ledger = new Ledger(random);
  const stop = new AbortController();
  const load = runLoad(client, {
    ledger,
    random,
    signal: stop.signal,
    goesOn: true,
    singleCallers: 8,
    restMs: 200,
  });
  try {
    await body();
  } finally {
    stop.abort();
  }
  const { failures, slowestMs } = await load;
  report(`  other learners: ${ledger.acknowledgedEntries} entries, ${Math.round(slowestMs)} ms at most`);
  expect(failures.map(String)).toEqual([]);
  expect(ledger.unacknowledgedEntries).toBe(0);
}

async function write(client: LearningLogClient, userId: string): Promise<void> {
  await client.createEntry({ requestId: randomUUID(), userId, wordCount: 1 }, { timeoutMs: 60_000 });
}
