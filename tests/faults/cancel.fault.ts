import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { startService } from "../../src/service.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { grpcClient } from "../support/clients.ts";
import { testConfig } from "../support/test-config.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { createWritePath } from "../support/write-path.ts";
import { report, rounds, seededRandom } from "./fault-run.ts";
import { createRequest, Ledger } from "./ledger.ts";
import { expectRecountClean, withConnection } from "./recount.ts";

// Callers give up at any stage, by a deadline or without a word, among others that do not: those get their answer,
// and nothing of the ones that went is left behind.

const random = seededRandom("cancel");
const database = useTestDatabase();
const log = createLog("silent");
const config = testConfig(database.url);
const ledger = new Ledger(random);
const callsPerRound = 300;
const patient = { timeoutMs: 20_000 };

test("callers of the service that give up", { timeout: 120_000 }, async () => {
  const service = await startService(config, log);
  const client = grpcClient(service.url);
  const codes = new Map<string, number>();

  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(Array.from({ length: callsPerRound }, (_, index) => callAfterPause(index)));
  }
  report(`  those who gave up got: ${[...codes].map((pair) => pair.join(" ")).join(", ")}`);
  const usual = ["Canceled", "DeadlineExceeded", "OK"];
  expect([...codes.keys()].filter((code) => !usual.includes(code))).toEqual([]);
  expect(codes.get("Canceled")).toBeGreaterThan(0);
  expect(codes.get("DeadlineExceeded")).toBeGreaterThan(0);

  await withConnection(database.url, async (connection) => {
    await ledger.expectAcknowledgedThere(connection);
    await ledger.retryUnacknowledged(client);
    await ledger.expectAllThere(connection);
    await expectRecountClean(connection);
  });
  await expect(inTime(service.stop()), "a stop of an idle service").resolves.toBe("done");

  /** Two of three give up. */
  async function callAfterPause(index: number): Promise<void> {
    await sleep(random.integer(0, 30));
    if (index % 3 === 0) return send(patient);
    const options =
      index % 3 === 1
        ? { timeoutMs: random.integer(1, 20) }
        : { ...patient, signal: AbortSignal.timeout(random.integer(0, 20)) };
    const outcome = await send(options).then(
      () => "OK",
      (error) => Code[ConnectError.from(error).code] ?? "unknown",
    );
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1);
  }

  async function send(options: { timeoutMs: number; signal?: AbortSignal }): Promise<void> {
    const kind = random.pick(["single", "single", "single", "batch", "stream"]);
    const sending = ledger.begin(
      kind === "single" ? "single" : "batch",
      kind === "single" ? 1 : random.integer(2, 20),
    );
    const entries = sending.entries.map(createRequest);
    if (kind === "single") await client.createEntry(entries[0] ?? {}, options);
    else if (kind === "batch") await client.batchCreateEntries({ entries }, options);
    else for await (const _ of client.importEntries(oneBatch({ entries }), options));
    sending.acknowledged = true;
  }
});

test("callers of the writer that give up", { timeout: 120_000 }, async () => {
  const { writer } = createWritePath({
    pool: database.connections,
    databaseUrl: database.url,
    limits: config.writing,
    recentEntries: 1000,
    log,
  });
  const outcomes = { answered: 0, gaveUp: 0 };

  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(Array.from({ length: callsPerRound }, (_, index) => record(index % 3 !== 0)));
  }
  report(`  the writer: ${outcomes.answered} answered, ${outcomes.gaveUp} gave up`);
  expect(outcomes.gaveUp).toBeGreaterThan(0);

  await expect(inTime(writer.drain())).resolves.toBe("done");
  await withConnection(database.url, async (connection) => {
    await ledger.expectAcknowledgedThere(connection);
    await expectRecountClean(connection);
    const { rows } = await connection.query(`
      SELECT state, query
      FROM pg_stat_activity
      WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()`);
    expect(rows).toEqual([]);
  });

  async function record(givesUp: boolean): Promise<void> {
    await sleep(random.integer(0, 30));
    const reason = new Error("the caller gave up");
    const caller = new AbortController();
    if (givesUp) setTimeout(() => caller.abort(reason), random.integer(0, 20));
    const sending = ledger.begin("single", 1);
    const [sent] = sending.entries;
    if (sent === undefined) throw new Error("there is no entry");
    try {
      const { isNew } = await writer.record({ ...sent, hasTimestamp: true }, caller);
      expect(isNew).toBe(true);
      sending.acknowledged = true;
      outcomes.answered += 1;
    } catch (error) {
      if (!givesUp) throw error;
      expect(error).toBe(reason);
      outcomes.gaveUp += 1;
    }
  }
});

function inTime(work: Promise<void>): Promise<string> {
  return Promise.race([work.then(() => "done"), sleep(5_000, "too late")]);
}

async function* oneBatch<Batch>(batch: Batch): AsyncIterable<Batch> {
  yield batch;
}
