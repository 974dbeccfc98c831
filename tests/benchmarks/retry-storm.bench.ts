import path from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  BatchCreateEntriesRequestSchema,
  BatchCreateEntriesResponseSchema,
  CreateEntryRequestSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import { ServerProcess } from "../support/server-process.ts";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { presentEntry } from "./harness/entries.ts";
import { frame, GrpcClient } from "./harness/grpc-client.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";

const servicePath = "/dailyaggregator.v1.LearningLogService";
const rivalScript = path.join(import.meta.dirname, "harness/no-database-service.ts");
const entryCount = 10_000;
const batchRows = 1000;
const inFlight = 256;
const connections = 8;

/** All calls retry recorded entries, as after an outage: each call ends with ALREADY_EXISTS. */
export const retryStormBenchmark: Benchmark = {
  name: "retry-storm",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using service = await startService(setting, database);
    await using rival = await ServerProcess.start(rivalScript);
    using client = new GrpcClient(service.url, connections);
    using rivalClient = new GrpcClient(rival.url, connections);

    const entries = Array.from({ length: entryCount }, presentEntry);
    for (let start = 0; start < entryCount; start += batchRows) {
      const batch = { entries: entries.slice(start, start + batchRows) };
      const request = create(BatchCreateEntriesRequestSchema, batch);
      const { body } = await client.unary(
        `${servicePath}/BatchCreateEntries`,
        BatchCreateEntriesRequestSchema,
        request,
      );
      const { createdCount } = fromBinary(BatchCreateEntriesResponseSchema, body);
      if (createdCount !== batchRows) throw new Error("the entries could not be recorded");
    }

    const requests = entries.map((entry) => frame(toBinary(CreateEntryRequestSchema, entry)));
    let sent = 0;
    const retry = async (to: GrpcClient) => {
      const request = requests[sent % entryCount];
      sent += 1;
      if (request === undefined) return;
      const { status, message } = await to.send(`${servicePath}/CreateEntry`, request);
      if (status !== Code.AlreadyExists) throw new Error(`a retry ended with status ${status}: ${message}`);
    };
    const measure = (to: GrpcClient) => runLoad({ inFlight, ...setting.effort }, () => retry(to));
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, () => retry(client));
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, () => retry(rivalClient));
    const { service: ours, "no database": without } = await takeTurns(setting, {
      service: () => measure(client),
      "no database": () => measure(rivalClient),
    });
    await database.expectEntries(entryCount);
    if (ours === undefined || without === undefined) return [];
    return [
      {
        name: `CreateEntry, all retries, ${inFlight} in flight`,
        value: ours.rate,
        unit: "calls/s",
        p50Ms: ours.p50Ms,
        p99Ms: ours.p99Ms,
        rival: { name: "the same call and error without a database", value: without.rate },
        goal: { of: "ratio", atLeast: 0.9 },
      },
    ];
  },
};
