import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { leaseMs, Notifications } from "../../src/database/notifications.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { hasPgBouncer, startPgBouncer } from "../support/pgbouncer.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { TestClock } from "../support/test-clock.ts";
import { useTestDatabase } from "../support/test-database.ts";

const database = useTestDatabase();

/** Follows channels of its own until the test is done, and keeps what it is told. */
function follow(...channels: string[]) {
  const clock = new TestClock();
  const notifications = new Notifications(database.url, createLog("silent"), { clock });
  onTestFinished(() => notifications.close());
  const messages: string[] = [];
  let gaps = 0;
  for (const channel of channels) {
    notifications.subscribe(channel, {
      onMessage: (payload) => messages.push(`${channel}: ${payload}`),
      onGap: () => {
        gaps += 1;
      },
    });
  }
  notifications.start();
  return { notifications, clock, messages, gaps: () => gaps };
}

const newChannel = () => `channel_${randomUUID()}`;

async function send(channel: string, payload: string): Promise<void> {
  await database.pool.query("SELECT pg_notify($1, $2)", [channel, payload]);
}

async function cutConnections(): Promise<void> {
  await database.pool.query(
    `SELECT pg_terminate_backend(pid, 10000)
    FROM pg_stat_activity
    WHERE application_name IN ('daily-aggregator notifications', 'daily-aggregator heartbeats') AND datname = current_database()`,
  );
}

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 });
const untilCurrent = (notifications: Notifications) =>
  eventually(() => expect(notifications.isCurrent()).toBe(true));

test("delivers what is sent on each channel, in order, whatever the name of the channel", async () => {
  const [one, other] = [newChannel(), `"Odd"; ${newChannel()}`];
  const { notifications, messages } = follow(one, other);
  await untilCurrent(notifications);
  await send(one, "first");
  await send(other, "second");
  await send(newChannel(), "for nobody");
  await send(one, "third");
  await eventually(() => expect(messages).toEqual([`${one}: first`, `${other}: second`, `${one}: third`]));
});

test("delivers what a transaction sends once it is committed, and nothing if it is rolled back", async () => {
  const channel = newChannel();
  const { notifications, messages } = follow(channel);
  await untilCurrent(notifications);
  const client = await database.pool.connect();
  for (const [payload, end] of [
    ["no", "ROLLBACK"],
    ["yes", "COMMIT"],
  ] as const) {
    await client.query("BEGIN");
    await client.query("SELECT pg_notify($1, $2)", [channel, payload]);
    await client.query(end);
  }
  client.release();
  await eventually(() => expect(messages).toEqual([`${channel}: yes`]));
});

test("is not current before it listens, and says that messages may have been missed until then", async () => {
  const { notifications, gaps } = follow(newChannel());
  expect(notifications.isCurrent()).toBe(false);
  expect(gaps()).toBe(0);
  await untilCurrent(notifications);
  expect(gaps()).toBe(1);
});

test("is not current while its connection is cut, and reports the gap before it is current again", async () => {
  const channel = newChannel();
  const { notifications, clock, messages, gaps } = follow(channel);
  await untilCurrent(notifications);
  for (let round = 1; round <= 2; round += 1) {
    // While time stands still, it does not connect again.
    clock.stop();
    await cutConnections();
    clock.advance(leaseMs);
    expect(notifications.isCurrent()).toBe(false);
    await send(channel, "missed");
    expect(gaps()).toBe(round);
    clock.start();
    await eventually(() => {
      expect(notifications.isCurrent() && gaps()).toBe(round + 1);
    });
    await send(channel, `after cut ${round}`);
    await eventually(() => expect(messages.at(-1)).toBe(`${channel}: after cut ${round}`));
  }
  expect(messages).toEqual([`${channel}: after cut 1`, `${channel}: after cut 2`]);
});

test("whatever was committed half a second ago was delivered, or it is not current", async () => {
  const channel = newChannel();
  const { notifications, messages } = follow(channel);
  await untilCurrent(notifications);
  for (let round = 0; round < 4; round += 1) {
    await send(channel, String(round));
    if (round % 2 === 1) await cutConnections();
    await sleep(leaseMs);
    if (notifications.isCurrent()) expect(messages).toContain(`${channel}: ${round}`);
    else await untilCurrent(notifications);
  }
});

test("a message that comes while the connection is cut is missed, but never while it is current", async () => {
  const channel = newChannel();
  const { notifications, clock, messages } = follow(channel);
  await untilCurrent(notifications);
  clock.stop();
  await cutConnections();
  await send(channel, "missed");
  clock.advance(leaseMs);
  expect({ isCurrent: notifications.isCurrent(), messages }).toEqual({ isCurrent: false, messages: [] });
});

test("a message that a subscriber cannot read is a gap for that one, and the next one arrives", async () => {
  const channel = newChannel();
  const strict = new Notifications(database.url, createLog("silent"));
  onTestFinished(() => strict.close());
  const read: unknown[] = [];
  let missed = 0;
  strict.subscribe(channel, {
    onMessage: (payload) => read.push(JSON.parse(payload)),
    onGap: () => {
      missed += 1;
    },
  });
  strict.start();
  await untilCurrent(strict);
  const before = missed;
  await send(channel, "garbage");
  await send(channel, "[1]");
  await eventually(() => expect(read).toEqual([[1]]));
  expect(missed).toBe(before + 1);
  expect(strict.isCurrent()).toBe(true);
});

test("stays not current while the database cannot be reached, and closes all the same", async () => {
  const url = new URL(database.url);
  url.port = "1";
  const notifications = new Notifications(url.href, createLog("silent"));
  notifications.start();
  expect(notifications.isCurrent()).toBe(false);
  await notifications.close();
  expect(notifications.isCurrent()).toBe(false);
});

test("leaves no connection behind when it is closed", async () => {
  const { notifications } = follow(newChannel());
  await untilCurrent(notifications);
  await notifications.close();
  await vi.waitFor(
    async () => {
      const { rowCount } = await database.pool.query(
        `SELECT
        FROM pg_stat_activity
        WHERE application_name IN ('daily-aggregator notifications', 'daily-aggregator heartbeats') AND datname = current_database()`,
      );
      expect(rowCount).toBe(0);
    },
    { timeout: 20_000, interval: 10 },
  );
});

describe.runIf(hasPgBouncer)("through PgBouncer (these tests are skipped where it is not installed)", () => {
  const quickly = { timeoutMs: 500, reconnectMs: 50 };

  test("which keeps a connection for each client, it is current", async () => {
    const url = await startPgBouncer(database.url, "session");
    const notifications = new Notifications(url, createLog("silent"));
    onTestFinished(() => notifications.close());
    notifications.start();
    await untilCurrent(notifications);
  });

  test("which hands connections on after each transaction, it is never current, and says so once", async () => {
    const url = await startPgBouncer(database.url, "transaction");
    const lines: string[] = [];
    const log = pino({ level: "info" }, { write: (line) => lines.push(line) });
    const notifications = new Notifications(url, log, quickly);
    onTestFinished(() => notifications.close());
    let gaps = 0;
    notifications.subscribe(newChannel(), { onMessage: () => {}, onGap: () => (gaps += 1) });
    notifications.start();
    // Each try to listen begins with a gap.
    await eventually(() => {
      expect(notifications.isCurrent()).toBe(false);
      expect(gaps).toBe(4);
    });
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
      expect.stringContaining("does not deliver notifications"),
    ]);
  });
});

test("is current again soon after a connection that was held up goes on, and hears what was sent meanwhile", async () => {
  const channel = newChannel();
  const { proxy, url } = await proxyTo(database.url);
  const notifications = new Notifications(url, createLog("silent"));
  onTestFinished(() => notifications.close());
  const messages: string[] = [];
  notifications.subscribe(channel, { onMessage: (payload) => messages.push(payload), onGap: () => {} });
  notifications.start();
  await untilCurrent(notifications);
  proxy.pause();
  await send(channel, "held up");
  await eventually(() => expect(notifications.isCurrent()).toBe(false));
  expect(messages).toEqual([]);
  proxy.resume();
  await untilCurrent(notifications);
  expect(messages).toEqual(["held up"]);
});

test("knows that a transaction has not ended, for as long as it takes", async () => {
  const { notifications } = follow(newChannel());
  await eventually(() => expect(notifications.settledAt).toBeDefined());
  const client = await database.pool.connect();
  await client.query("BEGIN");
  await client.query("SELECT pg_current_xact_id()");
  const { rows } = await client.query(
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS began",
  );
  const began = BigInt(rows[0].began);
  let heartbeats = 0;
  notifications.followHeartbeats(({ clock }) => {
    if (clock > began) heartbeats += 1;
  });
  await eventually(() => expect(heartbeats).toBeGreaterThan(5));
  expect(notifications.settledAt ?? 0n).toBeLessThan(began);
  await client.query("ROLLBACK");
  client.release();
  await eventually(() => expect(notifications.settledAt ?? 0n).toBeGreaterThan(began));
});
