import { create, toBinary, toJsonString } from "@bufbuild/protobuf";
import { GetSummaryRequestSchema } from "#gen/dailyaggregator/v1/summary_pb.js";
import { HealthCheckRequestSchema } from "#gen/health/v1/health_pb.js";
import type { Benchmark, Setting } from "./harness/benchmark.ts";
import { type BenchmarkDatabase, createDatabase } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { frame } from "./harness/grpc-client.ts";
import { createInProcessMemo } from "./harness/in-process-memo.ts";
import { type Measurement, runLoad, warmUp } from "./harness/load.ts";
import { RawGrpcClient } from "./harness/raw-grpc-client.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";
import {
  closedYear,
  getSummaryPath,
  getSummaryRaw,
  recordYear,
  usualEntries,
  yearByDay,
} from "./harness/summaries.ts";

const connections = 8;
const inFlight = 64;
const healthPath = "/grpc.health.v1.Health/Check";

/** A year by day has at least this size in JSON, and compressed by gzip, in bytes. Errors are smaller. */
const leastJsonBytes = 10_000;
const leastGzipBytes = 1_000;

/** The number of learners whose year by day is requested. */
const learnerCount = 1000;

/** A year by day from memory, compared to a small call that needs no database; and the size of the memo. */
export const getSummaryMemoizedBenchmark: Benchmark = {
  name: "get-summary-memoized",
  async run(given) {
    const setting = { ...given, effort: { ...given.effort, rounds: given.effort.manyRounds } };
    await using database = await createDatabase(setting.server);
    await recordYear(database, "mia", usualEntries, closedYear);
    return [...(await callFigures(setting, database)), ...(await memoFigures(setting, database))];
  },
};

/** Measures the calls, in the formats of services and of browsers. */
async function callFigures(setting: Setting, database: BenchmarkDatabase): Promise<Figure[]> {
  await using service = await startService(setting, database);
  using clients = new DisposableStack();
  const open = async (path: string, headers?: Readonly<Record<string, string>>) =>
    clients.use(await RawGrpcClient.open(service.url, connections, path, headers));
  const json = { "content-type": "application/json" };
  const summaryClient = await open(getSummaryPath);
  const healthClient = await open(healthPath);
  const summaryJsonClient = await open(getSummaryPath, json);
  const summaryGzipClient = await open(getSummaryPath, { ...json, "accept-encoding": "gzip" });
  const healthJsonClient = await open(healthPath, json);

  const request = yearByDay("mia", closedYear);
  const requestInJson = Buffer.from(toJsonString(GetSummaryRequestSchema, request));
  const healthRequest = frame(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema)));
  const emptyJson = Buffer.from("{}");
  const calls = {
    summary: () => getSummaryRaw(summaryClient, request),
    health: () => healthClient.call(healthRequest),
    summaryJson: async () => expectAtLeast(leastJsonBytes, await summaryJsonClient.call(requestInJson)),
    summaryGzip: async () => expectAtLeast(leastGzipBytes, await summaryGzipClient.call(requestInJson)),
    healthJson: () => healthJsonClient.call(emptyJson),
  };
  for (const call of Object.values(calls)) {
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, call);
  }
  const measure = (call: () => Promise<unknown>) => () => runLoad({ inFlight, ...setting.effort }, call);
  const measured = await takeTurns(setting, {
    summary: measure(calls.summary),
    health: measure(calls.health),
    summaryJson: measure(calls.summaryJson),
    summaryGzip: measure(calls.summaryGzip),
    healthJson: measure(calls.healthJson),
  });
  const name = "GetSummary, memoized year by day";
  const health = "grpc.health.v1.Health/Check";
  return [
    ...figure(name, measured.summary, health, measured.health),
    ...figure(`${name}, Connect with JSON`, measured.summaryJson, `${health} in JSON`, measured.healthJson),
    ...figure(`${name}, JSON with gzip`, measured.summaryGzip, `${health} in JSON`, measured.healthJson),
  ];
}

/** @throws if the answer is too short for a year by day: it is an error */
function expectAtLeast(leastBytes: number, bodyBytes: number): void {
  if (bodyBytes < leastBytes) throw new Error(`the answer has only ${bodyBytes} bytes`);
}

function figure(
  name: string,
  measured: Measurement | undefined,
  rivalName: string,
  rival: Measurement | undefined,
): Figure[] {
  if (measured === undefined || rival === undefined) return [];
  const { rate, p50Ms, p99Ms } = measured;
  return [
    {
      name: `${name}, ${inFlight} in flight`,
      value: rate,
      unit: "calls/s",
      p50Ms,
      p99Ms,
      rival: { name: rivalName, value: rival.rate },
      goal: { of: "ratio", atLeast: 0.6 },
    },
  ];
}

/** Measures the memo with many learners, some of whom are requested much more often than others. */
async function memoFigures({ effort }: Setting, database: BenchmarkDatabase): Promise<Figure[]> {
  await using inProcess = await createInProcessMemo(database);
  const { memo } = inProcess;
  const ask = () =>
    inProcess.ask(yearByDay(`learner-${Math.floor(learnerCount * Math.random() ** 3)}`, closedYear));
  const load = await runLoad({ inFlight: 16, ...effort }, ask);
  const what = `memo, ${learnerCount} learners`;
  return [
    { name: `${what}, in process`, value: load.rate, unit: "calls/s", p50Ms: load.p50Ms, p99Ms: load.p99Ms },
    { name: `${what}, hit rate`, value: (100 * memo.hits) / (memo.hits + memo.misses), unit: "%" },
    { name: `${what}, kept`, value: memo.bytes / 1024 / 1024, unit: "MB" },
    { name: `${what}, evictions`, value: memo.evictions, unit: "answers" },
  ];
}
