import { randomUUID } from "node:crypto";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { expect, test, vi } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll, expectAggregatesMatchLog } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { runCommand } from "../support/command.ts";
import { withConnection } from "../support/connection.ts";
import { proxyTo } from "../support/proxied-server.ts";
import { minutelyEntries, recordLearner } from "../support/record-entries.ts";
import { useTestService } from "../support/test-service.ts";

// The tests start whole processes, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

// Each test that makes the aggregates wrong corrects them again.

const service = useTestService();
checkAggregatesAfterAll(service.database);
const { pool, connections } = service.database;

const clean = { code: 0, stdout: "the aggregates agree with the log\n", stderr: "" };

test("npm run verify exits with 0 if the aggregates agree with the log, with and without --repair", async () => {
  const userId = await recordLearner(connections, minutelyEntries(100));
  expect(await verify()).toEqual(clean);
  expect(await verify("--repair")).toEqual(clean);
  expect(await aggregatesOf(pool, userId)).toMatchObject({ words: 100, entries: 100 });
});

test("npm run verify lists wrong, missing and surplus rows and exits with 1 until --repair corrects them", async () => {
  // A minute apart from 00:01 on, so 14 entries in the first bucket, and 15 in the next.
  const userId = await recordLearner(connections, minutelyEntries(40));
  const untouched = await recordLearner(connections, minutelyEntries(40));
  const bucket = (time: string) => `2024-01-01T${time}:00.000Z`;
  await pool.query(
    `UPDATE learning_log_aggregates SET total_word_count = 99 WHERE user_id = $1 AND bucket = $2`,
    [userId, bucket("00:00")],
  );
  await pool.query("DELETE FROM learning_log_aggregates WHERE user_id = $1 AND bucket = $2", [
    userId,
    bucket("00:15"),
  ]);
  await pool.query("INSERT INTO learning_log_aggregates VALUES ($1, $2, 0, 0)", [userId, bucket("09:00")]);

  const differences = [
    `${userId} ${bucket("00:00")}: the log has total_word_count 14, entry_count 14; the aggregates have total_word_count 99, entry_count 14`,
    `${userId} ${bucket("00:15")}: the log has total_word_count 15, entry_count 15; the aggregates have no row`,
    `${userId} ${bucket("09:00")}: the log has nothing; the aggregates have total_word_count 0, entry_count 0`,
  ];
  for (let times = 0; times < 2; times += 1) {
    const { code, stdout } = await verify();
    const lines = stdout.trimEnd().split("\n");
    expect({ code, lines: lines.toSorted() }).toEqual({
      code: 1,
      lines: [...differences, "aggregates that differ from the log: 3"].toSorted(),
    });
    expect(lines.at(-1)).toBe("aggregates that differ from the log: 3");
  }

  const repaired = await verify("--repair");
  expect(repaired.code).toBe(0);
  expect(repaired.stdout.split("\n").slice(3)).toEqual([
    "aggregates that differ from the log: 3",
    "repaired: 2 recomputed from the log, 1 deleted",
    "",
  ]);
  await withConnection(service.database.url, expectAggregatesMatchLog);
  expect(await aggregatesOf(pool, userId)).toEqual({ words: 40, entries: 40, rows: 3 });
  expect(await aggregatesOf(pool, untouched)).toEqual({ words: 40, entries: 40, rows: 3 });
  expect(await verify()).toEqual(clean);
});

test("npm run verify lists the first ten of more than a thousand differences, and counts all", async () => {
  const userId = randomUUID();
  await pool.query(
    `INSERT INTO learning_log_aggregates
    SELECT $1, timestamptz '2024-01-01T00:00:00Z' + n * interval '15 minutes', 1, 1
    FROM generate_series(1, 2345) AS n`,
    [userId],
  );
  const { code, stdout } = await verify("--repair");
  const lines = stdout.trimEnd().split("\n");
  expect(code).toBe(0);
  expect(lines).toHaveLength(12);
  expect(lines.slice(10)).toEqual([
    "aggregates that differ from the log: 2345",
    "repaired: 0 recomputed from the log, 2345 deleted",
  ]);
  expect(await aggregatesOf(pool, userId)).toMatchObject({ rows: 0 });
});

test("npm run verify, during writes, finds only real differences, corrects them, and makes no write fail", async () => {
  const client = grpcClient(service.url);
  const userId = await recordLearner(connections, minutelyEntries(40));
  const timestamp = timestampFromDate(new Date("2024-01-01T00:05:00Z"));
  let done = false;
  let written = 0;
  const writing = Promise.all(
    Array.from({ length: 4 }, async (_, writer) => {
      while (!done) {
        const entry = () => ({ requestId: randomUUID(), userId, wordCount: 1, timestamp });
        const first = entry();
        await client.createEntry(first);
        await client.batchCreateEntries({ entries: [entry(), entry()] });
        written += 3;
        if (writer === 0) {
          await client.deleteEntry({ requestId: first.requestId });
          written -= 1;
        }
      }
    }),
  );
  try {
    expect(await verify()).toEqual(clean);
    await pool.query(
      "UPDATE learning_log_aggregates SET entry_count = entry_count + 5 WHERE user_id = $1 AND bucket = $2",
      [userId, "2024-01-01T00:00:00Z"],
    );
    expect(await verify()).toMatchObject({ code: 1 });
    expect(await verify("--repair")).toMatchObject({ code: 0 });
    expect(await verify()).toEqual(clean);
  } finally {
    done = true;
    await writing;
  }
  expect(await aggregatesOf(pool, userId)).toMatchObject({ entries: 40 + written });
});

test("npm run verify exits with 2 and the reason for an unreachable database or an unknown option", async () => {
  const away = await verify("", "postgres://postgres@127.0.0.1:1/none");
  expect(away).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringMatching(/^verify: .*ECONNREFUSED/),
  });
  const misspelt = await verify("--repiar");
  expect(misspelt).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringMatching(/^verify: .*--repiar.*\nusage: npm run verify/s),
  });
});

test("npm run verify exits with 2 and the reason if its connection breaks", async () => {
  const { proxy, url: proxiedUrl } = await proxyTo(service.database.url);
  const locker = await pool.connect();
  try {
    await locker.query("BEGIN; LOCK TABLE learning_log");
    const verified = verify("", proxiedUrl);
    await expect.poll(countWaiting, { timeout: 20_000 }).toBe(1);
    proxy.cut();
    await expect(verified).resolves.toMatchObject({
      code: 2,
      stdout: "",
      stderr: expect.stringMatching(/^verify: .+\n$/),
    });
  } finally {
    await locker.query("ROLLBACK");
    locker.release();
  }
});

test("npm run verify shows a difference with the right time, whatever DateStyle and TimeZone are", async () => {
  const userId = randomUUID();
  await pool.query("INSERT INTO learning_log_aggregates VALUES ($1, '1971-06-01T00:00:00Z', 1, 1)", [userId]);
  const odd = "?options=-c%20datestyle=German,DMY%20-c%20TimeZone=Africa/Monrovia";
  try {
    await expect(verify("", `${service.database.url}${odd}`)).resolves.toEqual({
      code: 1,
      stdout: `${userId} 1971-06-01T00:00:00.000Z: the log has nothing; the aggregates have total_word_count 1, entry_count 1\naggregates that differ from the log: 1\n`,
      stderr: "",
    });
  } finally {
    await pool.query("DELETE FROM learning_log_aggregates WHERE user_id = $1", [userId]);
  }
});

/** The number of verify commands that wait for a lock in this database. */
async function countWaiting(): Promise<number> {
  const { rowCount } = await pool.query(
    `SELECT
    FROM pg_stat_activity
    WHERE application_name = 'daily-aggregator verify'
      AND datname = current_database()
      AND wait_event_type = 'Lock'`,
  );
  return rowCount ?? 0;
}

function verify(option = "", databaseUrl = service.database.url) {
  const args = option === "" ? [] : [option];
  return runCommand("src/commands/verify.ts", args, { env: { DATABASE_URL: databaseUrl } });
}
