import { create, toBinary } from "@bufbuild/protobuf";
import { HealthCheckRequestSchema } from "#gen/health/v1/health_pb.js";
import type { Benchmark, Setting } from "./harness/benchmark.ts";
import { type BenchmarkDatabase, createDatabase } from "./harness/database.ts";
import type { Figure } from "./harness/figure.ts";
import { frame } from "./harness/grpc-client.ts";
import { createInProcessMemo } from "./harness/in-process-memo.ts";
import { runLoad, warmUp } from "./harness/load.ts";
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

/** The number of learners whose year by day is requested. */
const learnerCount = 1000;

/** A year by day from memory, compared to a small call that needs no database; and the size of the memo. */
export const getSummaryMemoizedBenchmark: Benchmark = {
  name: "get-summary-memoized",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await recordYear(database, "mia", usualEntries, closedYear);
    await using service = await startService(setting, database);
    using client = await RawGrpcClient.open(service.url, connections, getSummaryPath);
    using healthClient = await RawGrpcClient.open(service.url, connections, "/grpc.health.v1.Health/Check");

    const request = yearByDay("mia", closedYear);
    const ask = () => getSummaryRaw(client, request);
    const healthRequest = frame(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema)));
    const check = () => healthClient.call(healthRequest);
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, ask);
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, check);
    const { summary, health } = await takeTurns(setting, {
      summary: () => runLoad({ inFlight, ...setting.effort }, ask),
      health: () => runLoad({ inFlight, ...setting.effort }, check),
    });
    if (summary === undefined || health === undefined) return [];
    return [
      {
        name: `GetSummary, memoized year by day, ${inFlight} in flight`,
        value: summary.rate,
        unit: "calls/s",
        p50Ms: summary.p50Ms,
        p99Ms: summary.p99Ms,
        rival: { name: "grpc.health.v1.Health/Check", value: health.rate },
        goal: { of: "ratio", atLeast: 0.6 },
      },
      ...(await memoFigures(setting, database)),
    ];
  },
};

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
