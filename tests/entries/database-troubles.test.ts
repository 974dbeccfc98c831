import { randomUUID } from "node:crypto";
import { Code } from "@connectrpc/connect";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { startEmbeddedServer } from "../../src/database/embedded/embedded-server.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { connect } from "../support/connection.ts";
import { makeDataDir, useDataTemplate } from "../support/data-folder.ts";
import { failureOf } from "../support/failures.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startLoggedService } from "../support/test-service.ts";

// The database returns transient errors, which do not depend on the entries.

const database = useTestDatabase();
checkAggregatesAfterAll(database);

const { pool } = database;
const role = `role_${randomUUID().replaceAll("-", "_")}`;

describe("a transient error is returned with RetryInfo, and the group is not split:", () => {
  beforeAll(() =>
    pool.query(`
      CREATE TABLE trouble (code text, attempts integer);
      CREATE SEQUENCE attempts;
      CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
      DECLARE
        trouble_code text;
      BEGIN
        SELECT code INTO trouble_code FROM trouble;
        IF FOUND THEN
          PERFORM nextval('attempts');
          RAISE EXCEPTION 'host.example learning_log' USING ERRCODE = trouble_code;
        END IF;
        RETURN NULL;
      END $$;
      CREATE TRIGGER fail BEFORE INSERT ON learning_log FOR EACH STATEMENT EXECUTE FUNCTION fail()`),
  );

  test.for([
    ["08006", Code.Unavailable, "the database is unavailable"],
    ["25006", Code.Unavailable, "the database is unavailable"],
    ["28000", Code.Unavailable, "the database is unavailable"],
    ["55000", Code.Unavailable, "the database is unavailable"],
    ["57P03", Code.Unavailable, "the database is unavailable"],
    ["25P04", Code.ResourceExhausted, "the database is busy"],
    ["53100", Code.ResourceExhausted, "the database is busy"],
    ["53300", Code.ResourceExhausted, "the database is busy"],
    ["57014", Code.ResourceExhausted, "the database is busy"],
    ["40001", Code.ResourceExhausted, "another transaction in the database conflicts with this call"],
  ] as const)("SQLSTATE %s", async ([sqlstate, code, rawMessage]) => {
    const { url, logged } = await startLoggedService(database.url);
    await pool.query("INSERT INTO trouble VALUES ($1)", [sqlstate]);
    onTestFinished(async () => {
      await pool.query("TRUNCATE trouble");
    });
    const before = await attempts();
    const client = grpcClient(url);
    const calls = Array.from({ length: 100 }, () => failureOf(client.createEntry(newEntry())));
    calls.push(failureOf(client.batchCreateEntries({ entries: [newEntry(), newEntry()] })));
    for (const error of await Promise.all(calls)) {
      expect(error).toMatchObject({ code, rawMessage });
      expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
    }
    // A statement with a serialization failure is attempted ten times. A hundred entries form a few groups.
    expect((await attempts()) - before).toBeLessThan(sqlstate === "40001" ? 100 : 10);
    expect(logged().filter(({ code }) => code === sqlstate).length).toBeLessThanOrEqual(1);
    expect(JSON.stringify(logged())).not.toMatch(/host\.example|learning_log|127\.0\.0\.1/);
  });

  async function attempts(): Promise<number> {
    const { rows } = await pool.query("SELECT last_value::integer AS count FROM attempts");
    return rows[0].count;
  }
});

test.for([
  ["a role that may no longer log in", `ALTER ROLE ${role} NOLOGIN`, `ALTER ROLE ${role} LOGIN`, "28000"],
  [
    "a database that accepts no connections",
    `ALTER DATABASE ${new URL(database.url).pathname.slice(1)} WITH ALLOW_CONNECTIONS false`,
    `ALTER DATABASE ${new URL(database.url).pathname.slice(1)} WITH ALLOW_CONNECTIONS true`,
    "55000",
  ],
] as const)(
  "%s makes calls UNAVAILABLE, is logged once, and requires no restart",
  async ([, refuse, admit, code]) => {
    const server = await connect(withPath(database.url, "/postgres"));
    await server.query(`CREATE ROLE ${role} LOGIN SUPERUSER PASSWORD 'secret'`);
    onTestFinished(async () => {
      await server.query(admit);
      await server.query(`DROP ROLE ${role}`);
      await server.end();
    });
    const url = new URL(database.url);
    url.username = role;
    url.password = "secret";
    const { url: serviceUrl, logged } = await startLoggedService(url.href);
    const client = grpcClient(serviceUrl);
    await client.createEntry(newEntry());

    await server.query(refuse);
    await server.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${role}' AND pid <> pg_backend_pid()`,
    );
    for (let round = 0; round < 5; round += 1) {
      const calls = Array.from({ length: 20 }, () => failureOf(client.createEntry(newEntry())));
      for (const error of await Promise.all(calls)) {
        expect(error).toMatchObject({ code: Code.Unavailable, rawMessage: "the database is unavailable" });
        expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
      }
    }
    const lines = logged().filter((line) => line.code === code && "timesSince" in line === false);
    expect(lines).toHaveLength(1);
    expect(logged().filter(({ msg }) => msg === "a call failed")).toEqual([]);
    await server.query(admit);
    await client.createEntry(newEntry());
  },
);

test("a row that the database rejects is logged without any value of the row", async () => {
  await pool.query("ALTER TABLE learning_log ADD CONSTRAINT no_poison CHECK (user_id NOT LIKE 'poison%')");
  await pool.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'not %', NEW.user_id USING DETAIL = NEW.user_id, HINT = NEW.user_id;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON learning_log
    FOR EACH ROW WHEN (NEW.user_id LIKE 'refused%') EXECUTE FUNCTION refuse()`);
  const { url, logged } = await startLoggedService(database.url);
  const client = grpcClient(url);
  const secret = randomUUID();
  for (const userId of [`poison ${secret}`, `refused ${secret}`]) {
    const entries = [newEntry(), { ...newEntry(), userId }];
    for (const call of [
      () => client.createEntry({ ...newEntry(), userId }),
      () => client.batchCreateEntries({ entries }),
    ]) {
      expect(await failureOf(call())).toMatchObject({ code: Code.Internal });
    }
  }
  expect(logged()).toMatchObject([
    { err: { code: "23514", constraint: "no_poison", message: expect.stringContaining("no_poison") } },
    { err: { code: "23514", constraint: "no_poison", message: expect.stringContaining("no_poison") } },
    { err: { code: "P0001", routine: expect.any(String) } },
    { err: { code: "P0001", routine: expect.any(String) } },
  ]);
  expect(JSON.stringify(logged())).not.toContain(secret);
});

describe("with a small notification queue,", () => {
  const template = useDataTemplate();

  test("late entries get RESOURCE_EXHAUSTED while the queue is full, and are recorded afterwards", async () => {
    const server = await startEmbeddedServer({
      dataDir: await makeDataDir(template.path),
      settings: { max_notify_queue_pages: "64" },
      log: createLog("silent"),
    });
    onTestFinished(() => server.stop());
    const { url, logged } = await startLoggedService(server.url, "info");
    const client = grpcClient(url);
    await using listener = await connect(server.url);
    await using sender = await connect(server.url);
    await listener.query("LISTEN anything");
    await listener.query("BEGIN");
    const fill = async () => {
      // Each notification takes up nearly a page of the queue.
      for (;;) await sender.query("SELECT pg_notify('anything', repeat('x', 7000))");
    };
    await expect(fill()).rejects.toMatchObject({ code: "54000" });

    const late = { ...newEntry(), timestamp: { seconds: 1_709_208_000n } };
    const error = await failureOf(client.createEntry(late));
    expect(error).toMatchObject({ code: Code.ResourceExhausted, rawMessage: "the database is busy" });
    expect(error.findDetails(RetryInfoSchema)).toHaveLength(1);
    const messages = () => logged().map(({ msg }) => msg);
    await expect.poll(messages).toContain("lost the connection for notifications");
    await listener.query("COMMIT");
    // The service recovers even though nothing is written meanwhile.
    await expect.poll(messages).toContain("notifications from the database arrive again");
    await expect
      .poll(
        () =>
          client.createEntry(late).then(
            () => "recorded",
            () => "rejected",
          ),
        { timeout: 20_000 },
      )
      .toBe("recorded");
  });
});

function newEntry() {
  return { requestId: randomUUID() as string, userId: randomUUID() as string, wordCount: 1 };
}

function withPath(url: string, path: string): string {
  const changed = new URL(url);
  changed.pathname = path;
  return changed.href;
}
