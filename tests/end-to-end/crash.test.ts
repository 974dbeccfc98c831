import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import { grpcClient, type LearningLogClient } from "../support/clients.ts";
import { connect } from "../support/connection.ts";
import { embeddedDatabaseUrl, killPostgres, makeDataDir, useDataTemplate } from "../support/data-folder.ts";
import { launchServiceProcess } from "../support/service-process.ts";

// The test starts and stops whole processes, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

const template = useDataTemplate();

test("acknowledged entries are stored exactly once after SIGKILL of the service and its PostgreSQL", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const crashing = launchServiceProcess({ DATA_DIR });
  const writers = Array.from({ length: 16 }, startWriter(grpcClient(await crashing.listening)));
  while (writers.flatMap(({ acknowledged }) => acknowledged).length < 100) await sleep(10);
  await Promise.all([crashing.kill("SIGKILL"), killPostgres(DATA_DIR, "SIGKILL")]);
  await Promise.all(writers.map(({ ended }) => ended));
  const acknowledged = writers.flatMap((writer) => writer.acknowledged);
  const unanswered = writers.flatMap((writer) => writer.unanswered);

  const client = grpcClient(await launchServiceProcess({ DATA_DIR }).listening);
  await using database = await connect(await embeddedDatabaseUrl(DATA_DIR));
  const stored = await database.query<{ request_id: string }>("SELECT request_id FROM learning_log");
  const storedIds = new Set(stored.rows.map((row) => row.request_id));
  expect(acknowledged.filter((id) => !storedIds.has(id))).toEqual([]);
  await expectAggregatesMatchLog(database);

  const repeated = await Promise.all(acknowledged.map((id) => write(client, id)));
  expect(new Set(repeated)).toEqual(new Set([Code.AlreadyExists]));
  const retried = await Promise.all(unanswered.map((id) => write(client, id)));
  expect(new Set(retried)).toSatisfy((outcomes: Set<Outcome>) =>
    outcomes.isSubsetOf(new Set(["created", Code.AlreadyExists])),
  );
  const { rows } = await database.query("SELECT count(*)::int AS entries FROM learning_log");
  expect(rows).toEqual([{ entries: acknowledged.length + unanswered.length }]);
  await expectAggregatesMatchLog(database);
});

type Outcome = "created" | Code;

/** Writes one entry after the other until a write fails. */
function startWriter(client: LearningLogClient) {
  return () => {
    const acknowledged: string[] = [];
    const unanswered: string[] = [];
    const writeAll = async () => {
      for (;;) {
        const id = randomUUID();
        if ((await write(client, id)) !== "created") {
          unanswered.push(id);
          return;
        }
        acknowledged.push(id);
      }
    };
    return { acknowledged, unanswered, ended: writeAll() };
  };
}

async function write(client: LearningLogClient, requestId: string): Promise<Outcome> {
  try {
    await client.createEntry({ requestId, userId: `learner ${requestId[0]}`, wordCount: 7 });
    return "created";
  } catch (error) {
    return ConnectError.from(error).code;
  }
}
