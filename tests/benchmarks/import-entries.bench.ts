import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ImportEntriesRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { watchMemory } from "../support/memory.ts";
import type { Benchmark } from "./harness/benchmark.ts";
import { createDatabase } from "./harness/database.ts";
import { pastEntry } from "./harness/entries.ts";
import type { Figure } from "./harness/figure.ts";
import { startService } from "./harness/service.ts";

const batchRows = 500;
const maxMemoryMb = 250;

/** The import ends after this time, so that a slow machine imports fewer rows. */
const maxSeconds = 90;

/** The factor by which the mean memory may grow from the first to the last third. Garbage collection explains this. */
const maxGrowth = 1.15;

/** A long import over one stream, with the client of `npm run import`: its rate, and whether memory stays constant. */
export const importEntriesBenchmark: Benchmark = {
  name: "import-entries",
  async run(setting) {
    const { importRows } = setting.effort;
    await using database = await createDatabase(setting.server);
    await using service = await startService(setting, database);
    const client = createClient(LearningLogService, createGrpcTransport({ baseUrl: service.url }));

    let end = Number.POSITIVE_INFINITY;
    async function* batches() {
      for (let sent = 0; sent < importRows && performance.now() < end; sent += batchRows) {
        const entries = Array.from({ length: Math.min(batchRows, importRows - sent) }, pastEntry);
        yield create(ImportEntriesRequestSchema, { entries });
      }
    }
    await database.reset();
    const memory = watchMemory(service.pid, 500);
    const start = performance.now();
    end = start + maxSeconds * 1000;
    let created = 0;
    for await (const { createdCount } of client.importEntries(batches())) {
      created += createdCount;
      if (created % 100_000 === 0) setting.progress(`  ${created} rows`);
    }
    const seconds = (performance.now() - start) / 1000;
    const samples = memory.end();
    await database.expectEntries(created);
    const rate = { name: `ImportEntries, ${created} rows`, value: created / seconds, unit: "rows/s" };
    return [rate, ...memoryFigures(samples)];
  },
};

/** @param samples in MB, in the order of time */
function memoryFigures(samples: readonly number[]): Figure[] {
  const third = Math.floor(samples.length / 3);
  if (third === 0) return [];
  return [
    {
      name: "ImportEntries, most memory of the service",
      value: Math.max(...samples),
      unit: "MB",
      goal: { of: "value", atMost: maxMemoryMb },
    },
    {
      name: "ImportEntries, mean memory in the last third",
      value: mean(samples.slice(-third)),
      unit: "MB",
      rival: { name: "in the first third", value: mean(samples.slice(0, third)) },
      goal: { of: "ratio", atMost: maxGrowth },
    },
  ];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
