import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { GetSummaryRequestSchema, Granularity } from "#gen/dailyaggregator/v1/summary_pb.js";
import { ConnectionPool } from "../../src/database/pool.ts";
import { Semaphore } from "../../src/database/semaphore.ts";
import { Calendars } from "../../src/summaries/calendars.ts";
import { SummaryFeeds } from "../../src/summaries/summary-feeds.ts";
import { watchSummary } from "../../src/summaries/watch-summary.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { failureOf } from "../support/failures.ts";
import { micros } from "../support/micros.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { createWritePath } from "../support/write-path.ts";
import { summaryRequestOf } from "./ask.ts";

const database = useTestDatabase();

test("a watch that waits for a busy database gets UNAVAILABLE when the server shuts down", async () => {
  const { changes } = createWritePath({
    pool: database.connections,
    databaseUrl: database.url,
    limits: { maxStatements: 1, maxStatementRows: 1, maxPendingRows: 1 },
    recentEntries: 0,
    log: createLog("silent"),
  });
  const semaphore = new Semaphore({ permits: 1, maxWaiting: 0, maxWaitMs: 1, refusal: "busy" });
  await semaphore.acquire();
  const busy = new ConnectionPool(database.pool, semaphore);
  const draining = new AbortController();
  const feeds = new SummaryFeeds({
    pools: { small: busy, large: busy },
    calendars: new Calendars(),
    changes,
    draining: draining.signal,
    keepaliveMs: 60_000,
  });
  const noon = micros("2024-02-29T12:00Z");
  const day = { from: noon, to: noon, granularity: Granularity.DAY, timeZone: "UTC" };
  const message = create(GetSummaryRequestSchema, summaryRequestOf(randomUUID(), day));
  const watching = watchSummary({ feeds }, message, new AbortController());
  const failure = failureOf(watching[Symbol.asyncIterator]().next());
  await expect(failureOf(busy.connect())).resolves.toMatchObject({ code: Code.ResourceExhausted });
  draining.abort();
  await expect(failure).resolves.toMatchObject({
    code: Code.Unavailable,
    rawMessage: "the server is shutting down",
  });
  changes.watched.close();
});
