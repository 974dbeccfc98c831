import { toBinary } from "@bufbuild/protobuf";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { watchMemory } from "../support/memory.ts";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry } from "./harness/entries.ts";
import type { Figure } from "./harness/figure.ts";
import { frame } from "./harness/grpc-client.ts";
import { bareInsert, sameWork } from "./harness/pgbench.ts";
import { RawGrpcClient } from "./harness/raw-grpc-client.ts";
import { startService } from "./harness/service.ts";
import { measureSingleEntries } from "./harness/single-entries.ts";

const path = "/dailyaggregator.v1.LearningLogService/CreateEntry";
const connections = 8;
const maxMemoryMb = 250;

/** Single entries over gRPC. Each is durable, unique and aggregated when its call is answered. */
export const createEntryBenchmark: Benchmark = {
  name: "create-entry",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using service = await startService(setting, database);
    using client = await RawGrpcClient.open(service.url, connections, path);

    const memory = watchMemory(service.pid, 100);
    const figures = await measureSingleEntries(setting, database, {
      what: "CreateEntry over gRPC",
      record: () => client.call(frame(toBinary(CreateEntryRequestSchema, presentEntry()))),
      rivals: [{ transaction: sameWork, goals: { 64: 1, 512: 1.3 } }, { transaction: bareInsert }],
    });
    return [...figures, ...memoryFigure(memory.end())];
  },
};

/** @param samples in MB; empty where memory cannot be measured */
function memoryFigure(samples: readonly number[]): Figure[] {
  if (samples.length === 0) return [];
  return [
    {
      name: "CreateEntry over gRPC, most memory of the service",
      value: Math.max(...samples),
      unit: "MB",
      goal: { of: "value", atMost: maxMemoryMb },
    },
  ];
}
