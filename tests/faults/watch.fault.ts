import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, test } from "vitest";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import { withConnection } from "../support/connection.ts";
import { FollowedWatch } from "../support/followed-watch.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { besideBystander } from "./beside-bystander.ts";
import { isLongForm, seededRandom } from "./fault-run.ts";
import { underLoad, write } from "./load.ts";
import { openOwnClient } from "./own-client.ts";
import { waitForBlocked } from "./wait-for-blocked.ts";

// A watch shows every entry, however long its recording takes.

const random = seededRandom("watch");

/** The longest time from a commit until a watch shows the entry. */
const noticeMs = 3_000;

const slowMs = isLongForm ? 4_000 : 2_000;

const database = useTestDatabase();

// Delays the recording statement between the log and the aggregates, where it would also wait for a lock.
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

test("a watch that begins while an entry is being recorded shows it soon after the commit", {
  timeout: 120_000,
}, async () => {
  await using one = await startServiceProcess({ DATABASE_URL: database.url });
  await using other = await startServiceProcess({ DATABASE_URL: database.url });
  await besideBystander({ services: [one, other], databaseUrl: database.url }, async (bystander) => {
    using clients = openOwnClient(one.url);
    using others = openOwnClient(other.url);
    const client = clients.learningLog;
    await underLoad(others.learningLog, random, async () => {
      for (let round = 0; round < (isLongForm ? 5 : 2); round += 1) {
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
          await watch.waitFor(watch.userId === waiting ? 2 : 1, bystander.scaled(noticeMs));
          await watch.close();
        }
      }
    });
    await withConnection(database.url, expectAggregatesMatchLog);
  });
});
