import { toBinary } from "@bufbuild/protobuf";
import { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry } from "./harness/entries.ts";
import { frame } from "./harness/grpc-client.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { besidePgbench, measurePgbench } from "./harness/pgbench.ts";
import { RawGrpcClient } from "./harness/raw-grpc-client.ts";
import { takeTurns } from "./harness/rounds.ts";
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

    const create = () => client.call(frame(toBinary(CreateEntryRequestSchema, presentEntry())));
    const measure = async (inFlight: number) => {
      await database.reset();
      const load = await runLoad({ inFlight, ...setting.effort }, create);
      await database.expectEntries(load.answered);
      return load;
    };
    await warmUp(setting.effort.firstWarmUpSeconds, 256, create);
    const measured = await takeTurns(setting, {
      "64 in flight": () => measure(64),
      "256 in flight": () => measure(256),
      "512 in flight": () => measure(512),
      pgbench: () => measurePgbench(database, setting.effort.seconds),
    });
    return besidePgbench("CreateEntry over gRPC", measured, 1.2);
  },
};
