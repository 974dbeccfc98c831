import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import pino from "pino";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { leaseMs, Notifications } from "../../src/database/notifications.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { TestClock } from "../support/test-clock.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { hasPgBouncer, startPgBouncer } from "./pgbouncer.ts";

const database = useTestDatabase();

/** Subscribes to channels until the test finishes, collects their messages, and counts the gaps. */
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

test("the messages of several channels arrive in order, whatever the names of the channels", async () => {
  const [one, other] = [newChannel(), `"Odd"; ${newChannel()}`];
  const { notifications, messages } = follow(one, other);
  await untilCurrent(notifications);
  await send(one, "first");
  await send(other, "second");
  await send(newChannel(), "for nobody");
  await send(one, "third");
  await eventually(() => expect(messages).toEqual([`${one}: first`, `${other}: second`, `${one}: third`]));
});

test("a message arrives once its transaction is committed, and never if it is rolled back", async () => {
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

test("a new listener is not current until it listens, and reports a gap first", async () => {
  const { notifications, gaps } = follow(newChannel());
  expect(notifications.isCurrent()).toBe(false);
  expect(gaps()).toBe(0);
  await untilCurrent(notifications);
  expect(gaps()).toBe(1);
});

test("a listener with a broken connection is not current, and reports a gap before it is current again", async () => {
  const channel = newChannel();
  const { notifications, clock, messages, gaps } = follow(channel);
  await untilCurrent(notifications);
  for (let round = 1; round <= 2; round += 1) {
    // While the clock is stopped, the listener does not reconnect.
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

test("while a listener is current, every message committed half a second ago has been delivered", async () => {
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

test("a message that is sent while the connection is broken is missed, and the listener is not current", async () => {
  const channel = newChannel();
  const { notifications, clock, messages } = follow(channel);
  await untilCurrent(notifications);
  clock.stop();
  await cutConnections();
  await send(channel, "missed");
  clock.advance(leaseMs);
  expect({ isCurrent: notifications.isCurrent(), messages }).toEqual({ isCurrent: false, messages: [] });
});

test("a message that a subscriber cannot parse is reported to it as a gap, and the next message arrives", async () => {
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

test("a listener that cannot reach the database is never current, and can be closed", async () => {
  const url = new URL(database.url);
  url.port = "1";
  const notifications = new Notifications(url.href, createLog("silent"));
  notifications.start();
  expect(notifications.isCurrent()).toBe(false);
  await notifications.close();
  expect(notifications.isCurrent()).toBe(false);
});

test("a closed listener leaves no connection behind", async () => {
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

describe.runIf(hasPgBouncer)("through PgBouncer (skipped if it is not installed),", () => {
  const quickly = { timeoutMs: 500, reconnectMs: 50 };

  test("in session mode, a listener becomes current", async () => {
    const url = await startPgBouncer(database.url, "session");
    const notifications = new Notifications(url, createLog("silent"));
    onTestFinished(() => notifications.close());
    notifications.start();
    await untilCurrent(notifications);
  });

  test("in transaction mode, a listener never becomes current, and logs the reason once", async () => {
    const url = await startPgBouncer(database.url, "transaction");
    const lines: string[] = [];
    const log = pino({ level: "info" }, { write: (line) => lines.push(line) });
    const notifications = new Notifications(url, log, quickly);
    onTestFinished(() => notifications.close());
    let gaps = 0;
    notifications.subscribe(newChannel(), { onMessage: () => {}, onGap: () => (gaps += 1) });
    let followed = 0;
    notifications.followGaps(() => (followed += 1));
    notifications.start();
    // Each attempt to listen begins with a gap.
    await eventually(() => {
      expect(notifications.isCurrent()).toBe(false);
      expect({ gaps, followed }).toEqual({ gaps: 4, followed: 4 });
    });
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
      expect.stringContaining("does not deliver notifications"),
    ]);
  });
});

test("a listener is current again once a stalled connection resumes, and receives the delayed messages", async () => {
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

test("settledAt stays before the beginning of an open transaction, however long it takes", async () => {
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
