import { toBinary } from "@bufbuild/protobuf";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry } from "./harness/entries.ts";
import { frame } from "./harness/grpc-client.ts";
import { measureBesidePgbench } from "./harness/pgbench.ts";
import { RawGrpcClient } from "./harness/raw-grpc-client.ts";
import { startService } from "./harness/service.ts";

const path = "/dailyaggregator.v1.LearningLogService/CreateEntry";
const connections = 8;

/** Single entries over gRPC. Each is durable, unique and aggregated when its call is answered. */
export const createEntryBenchmark: Benchmark = {
  name: "create-entry",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using service = await startService(setting, database);
    using client = await RawGrpcClient.open(service.url, connections, path);

    const record = () => client.call(frame(toBinary(CreateEntryRequestSchema, presentEntry())));
    return await measureBesidePgbench(setting, database, {
      what: "CreateEntry over gRPC",
      record,
      goal: 1.2,
    });
  },
};
