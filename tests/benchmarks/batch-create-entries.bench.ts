import { create, fromBinary } from "@bufbuild/protobuf";
import {
  BatchCreateEntriesRequestSchema,
  BatchCreateEntriesResponseSchema,
} from "#gen/dailyaggregator/v1/entry_pb.js";
import { changesChannel, lateSeconds } from "../../src/changes/learner-changes.ts";
import { watchLookupValidSeconds } from "../../src/changes/watch-publisher.ts";
import { insertEntriesStatement } from "../../src/entries/sql/insert-entries.ts";
import { type Connection, connect } from "../support/connection.ts";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { pastEntry, recordable } from "./harness/entries.ts";
import { GrpcClient } from "./harness/grpc-client.ts";
import { runLoad, warmUp } from "./harness/load.ts";
import { takeTurns } from "./harness/rounds.ts";
import { startService } from "./harness/service.ts";

const path = "/dailyaggregator.v1.LearningLogService/BatchCreateEntries";
const batchRows = 500;
const inFlight = 4;

/** Batches over gRPC, compared to the same statement from clients that only run it. */
export const batchCreateEntriesBenchmark: Benchmark = {
  name: "batch-create-entries",
  async run(setting) {
    await using database = await createDatabase(setting.server);
    await using service = await startService(setting, database);
    using client = new GrpcClient(service.url, inFlight);
    await using stack = new AsyncDisposableStack();
    const bareClients: Connection[] = [];
    for (let index = 0; index < inFlight; index += 1)
      bareClients.push(stack.use(await connect(database.url)));

    const batch = () => Array.from({ length: batchRows }, pastEntry);
    const callService = async () => {
      const request = create(BatchCreateEntriesRequestSchema, { entries: batch() });
      const { status, message, body } = await client.unary(path, BatchCreateEntriesRequestSchema, request);
      if (status !== 0) throw new Error(`BatchCreateEntries ended with status ${status}: ${message}`);
      const { createdCount } = fromBinary(BatchCreateEntriesResponseSchema, body);
      if (createdCount !== batchRows) throw new Error(`only ${createdCount} entries were recorded`);
    };
    const queryDatabase = async (caller: number) => {
      const entries = batch().map(recordable);
      const values = [
        entries.map(({ requestId }) => requestId),
        entries.map(({ userId }) => userId),
        entries.map(({ wordCount }) => wordCount),
        entries.map(({ timestamp }) => timestamp),
        `${lateSeconds} seconds`,
        [],
        changesChannel,
        new Date().toISOString(),
        `${watchLookupValidSeconds} seconds`,
      ];
      await bareClients[caller]?.query({ ...insertEntriesStatement, values });
    };
    const measure = async (call: (caller: number) => Promise<void>) => {
      await database.reset();
      const load = await runLoad({ inFlight, ...setting.effort }, call);
      await database.expectEntries(load.answered * batchRows);
      return { ...load, rate: load.rate * batchRows };
    };
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, callService);
    await warmUp(setting.effort.firstWarmUpSeconds, inFlight, queryDatabase);
    const { service: ours, bare } = await takeTurns(setting, {
      service: () => measure(callService),
      bare: () => measure(queryDatabase),
    });
    if (ours === undefined || bare === undefined) return [];
    return [
      {
        name: `BatchCreateEntries of ${batchRows}, ${inFlight} in flight`,
        value: ours.rate,
        unit: "rows/s",
        p50Ms: ours.p50Ms,
        p99Ms: ours.p99Ms,
        rival: { name: "the same SQL from bare pg clients", value: bare.rate },
        goal: { of: "ratio", atLeast: 0.85 },
      },
    ];
  },
};
