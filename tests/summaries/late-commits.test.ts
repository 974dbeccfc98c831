import { randomUUID } from "node:crypto";
import { beforeAll, expect, test, vi } from "vitest";
import { Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { timestampFromMicros } from "../../src/database/timestamps.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { useClockPastTheHour } from "../support/database-clock.ts";
import { waitForNotifications } from "../support/notification-links.ts";
import { lockTables } from "../support/table-locks.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { useTwoServices } from "../support/test-service.ts";
import { askService } from "./ask.ts";
import { beginSlowWrite } from "./slow-write.ts";

// A summary contains every committed entry, even if its commit took long, or the database's clock was changed.

const database = useTestDatabase();
const second = 1_000_000n;
const hour = 3600n * second;
const clock = useClockPastTheHour(database, 10);
const services = useTwoServices({}, database);
const instances = ["a", "b"] as const;
beforeAll(() => waitForNotifications(database, instances.length));

const eventually = (check: () => Promise<void>) => vi.waitFor(check, { timeout: 25_000, interval: 50 });

/** Returns the learner's number of entries in the hour that contains a time, as one instance answers it. */
async function countIn(client: LearningLogClient, userId: string, time: bigint): Promise<bigint> {
  const question = { timeZone: "UTC", granularity: Granularity.HOUR, from: time, to: time };
  const [period] = await askService(client, userId, question);
  return period?.count ?? 0n;
}

/** Resolves when both instances answer from memory for the hour that contains a time. */
async function memoized(userId: string, time: bigint): Promise<void> {
  for (const instance of instances) {
    await eventually(async () => {
      await countIn(services[instance], userId, time);
      // A call that needs the database waits for the lock.
      await using _ = await lockTables(database);
      const answered = countIn(services[instance], userId, time).then(() => true);
      const late = new Promise<boolean>((resolve) => setTimeout(resolve, 200, false));
      const isFromMemory = await Promise.race([answered, late]);
      answered.catch(() => {});
      expect(isFromMemory).toBe(true);
    });
  }
}

test("the summary of an ended hour contains an entry whose transaction took minutes to commit", async () => {
  const userId = randomUUID();
  const time = clock.now() - (clock.now() % hour) - second;
  const slow = await beginSlowWrite(database, userId, time);
  await clock.turn(300);
  await heartbeats(6);
  for (const instance of instances) expect(await countIn(services[instance], userId, time)).toBe(0n);
  await slow.query("COMMIT");
  for (const instance of instances) expect(await countIn(services[instance], userId, time)).toBe(1n);
  await memoized(userId, time);
});

test("after the database's clock goes back, the summary of an hour that had ended contains a new entry", async () => {
  const learners = Array.from({ length: 5 }, () => randomUUID());
  const time = clock.now();
  await clock.turn(2 * 3600);
  for (const userId of learners) await memoized(userId, time);
  await clock.turn(-2 * 3600);
  await Promise.all(
    learners.map(async (userId) => {
      const entry = { requestId: randomUUID(), userId, wordCount: 1, timestamp: timestampFromMicros(time) };
      await services.a.createEntry(entry);
      // At once at the instance that recorded it, and soon at the other one.
      expect(await countIn(services.a, userId, time)).toBe(1n);
      await eventually(async () => expect(await countIn(services.b, userId, time)).toBe(1n));
    }),
  );
});

/** Resolves after this number of heartbeats, of any instance. */
async function heartbeats(count: number): Promise<void> {
  const seen = new Set<number>();
  await eventually(async () => {
    const { rows } = await database.pool.query(
      `SELECT query_start
      FROM pg_stat_activity
      WHERE application_name = 'daily-aggregator heartbeats' AND datname = current_database()`,
    );
    for (const { query_start } of rows) seen.add(Number(query_start));
    expect(seen.size).toBeGreaterThan(count);
  });
}
