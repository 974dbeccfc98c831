import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { createLog } from "../../src/telemetry/log.ts";
import { expectAggregatesMatchLog } from "../support/aggregates.ts";
import type { LearningLogClient } from "../support/clients.ts";
import { withConnection } from "../support/connection.ts";
import { startServiceProcess } from "../support/service-process.ts";
import { testConfig } from "../support/test-config.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { createWritePath } from "../support/write-path.ts";
import { besideBystander } from "./beside-bystander.ts";
import { report, rounds, seededRandom } from "./fault-run.ts";
import { leave, visibleWaysToLeave } from "./leave.ts";
import { createRequest, Ledger } from "./ledger.ts";
import { openOwnClient } from "./own-client.ts";
import { RawHttp2 } from "./raw-http2.ts";

// Some callers cancel, time out or disconnect at any stage of a call. The others get their answers, and the service
// keeps nothing of the callers that left.

const random = seededRandom("cancel");
const database = useTestDatabase();
const log = createLog("silent");
const config = testConfig(database.url);
const ledger = new Ledger(random);
const callsPerRound = 300;
const leaversPerRound = 40;
const longTimeout = { timeoutMs: 20_000 };

test("callers that cancel, time out or disconnect leave nothing behind, and other callers are answered", {
  timeout: 120_000,
}, async () => {
  await using service = await startServiceProcess({ DATABASE_URL: database.url });
  const codes = new Map<string, number>();
  await besideBystander({ services: [service], databaseUrl: database.url }, async () => {
    using connection = openOwnClient(service.url);
    await runCallers(connection.learningLog);
  });
  const ended = await service.end("SIGTERM");
  expect(ended.code, service.lastLines()).toBe(0);
  expect(ended.ms, "ms to stop an idle service").toBeLessThan(5_000);

  async function runCallers(client: LearningLogClient): Promise<void> {
    for (let round = 0; round < rounds; round += 1) {
      await Promise.all([
        ...Array.from({ length: callsPerRound }, (_, index) => callAfterPause(client, index)),
        ...Array.from({ length: leaversPerRound }, (_, index) => callAndLeave(index)),
      ]);
    }
    report(
      `  callers that cancelled or timed out got: ${[...codes].map((pair) => pair.join(" ")).join(", ")}`,
    );
    const usual = ["Canceled", "DeadlineExceeded", "OK"];
    expect([...codes.keys()].filter((code) => !usual.includes(code))).toEqual([]);
    expect(codes.get("Canceled")).toBeGreaterThan(0);
    expect(codes.get("DeadlineExceeded")).toBeGreaterThan(0);

    await withConnection(database.url, async (connection) => {
      await ledger.expectAcknowledgedThere(connection);
      await ledger.retryUnacknowledged(client);
      await ledger.expectAllThere(connection);
      await expectAggregatesMatchLog(connection);
    });
  }

  /** Starts a call over a new connection, and leaves at most 20 ms later. */
  async function callAndLeave(index: number): Promise<void> {
    await sleep(random.integer(0, 30));
    const connection = await RawHttp2.open(service.url);
    const [entry] = ledger.begin("single", 1).entries;
    if (entry === undefined) throw new Error("there is no entry");
    const request = create(CreateEntryRequestSchema, createRequest(entry));
    await connection.call("CreateEntry", toBinary(CreateEntryRequestSchema, request));
    await sleep(random.integer(0, 20));
    const way = visibleWaysToLeave[index % visibleWaysToLeave.length] ?? "by FIN";
    await leave(connection, way);
    if (way === "by RST_STREAM") connection.close();
  }

  /** Of three callers, one has a short deadline, and one cancels. */
  async function callAfterPause(client: LearningLogClient, index: number): Promise<void> {
    await sleep(random.integer(0, 30));
    if (index % 3 === 0) return send(client, longTimeout);
    const options =
      index % 3 === 1
        ? { timeoutMs: random.integer(1, 20) }
        : { ...longTimeout, signal: AbortSignal.timeout(random.integer(0, 20)) };
    const outcome = await send(client, options).then(
      () => "OK",
      (error) => Code[ConnectError.from(error).code] ?? "unknown",
    );
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
  }

  async function send(
    client: LearningLogClient,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<void> {
    const kind = random.pick(["single", "single", "single", "batch", "stream"]);
    const submission = ledger.begin(
      kind === "single" ? "single" : "batch",
      kind === "single" ? 1 : random.integer(2, 20),
    );
    const entries = submission.entries.map(createRequest);
    if (kind === "single") await client.createEntry(entries[0] ?? {}, options);
    else if (kind === "batch") await client.batchCreateEntries({ entries }, options);
    else for await (const _ of client.importEntries(oneBatch({ entries }), options));
    submission.acknowledged = true;
  }
});

test("the writer answers callers that do not cancel, and drains after the others have cancelled", {
  timeout: 120_000,
}, async () => {
  const { writer } = createWritePath({
    pool: database.connections,
    databaseUrl: database.url,
    limits: config.writing,
    recentEntries: 1000,
    log,
  });
  const outcomes = { answered: 0, cancelled: 0 };

  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(Array.from({ length: callsPerRound }, (_, index) => record(index % 3 !== 0)));
  }
  report(`  the writer: ${outcomes.answered} answered, ${outcomes.cancelled} cancelled`);
  expect(outcomes.cancelled).toBeGreaterThan(0);

  await expect(inTime(writer.drain())).resolves.toBe("done");
  await withConnection(database.url, async (connection) => {
    await ledger.expectAcknowledgedThere(connection);
    await expectAggregatesMatchLog(connection);
    const { rows } = await connection.query(`
      SELECT state, query
      FROM pg_stat_activity
      WHERE datname = current_database()
        AND backend_type = 'client backend'
        AND state <> 'idle'
        AND pid <> pg_backend_pid()`);
    expect(rows).toEqual([]);
  });

  async function record(cancels: boolean): Promise<void> {
    await sleep(random.integer(0, 30));
    const reason = new Error("the caller cancelled");
    const caller = new AbortController();
    if (cancels) setTimeout(() => caller.abort(reason), random.integer(0, 20));
    const submission = ledger.begin("single", 1);
    const [sent] = submission.entries;
    if (sent === undefined) throw new Error("there is no entry");
    try {
      const { isNew } = await writer.record({ ...sent, hasTimestamp: true }, caller);
      expect(isNew).toBe(true);
      submission.acknowledged = true;
      outcomes.answered += 1;
    } catch (error) {
      if (!cancels) throw error;
      expect(error).toBe(reason);
      outcomes.cancelled += 1;
    }
  }
});

function inTime(work: Promise<void>): Promise<string> {
  return Promise.race([work.then(() => "done"), sleep(5_000, "too late")]);
}

async function* oneBatch<Batch>(batch: Batch): AsyncIterable<Batch> {
  yield batch;
}
