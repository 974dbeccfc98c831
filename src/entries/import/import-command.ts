import { stat } from "node:fs/promises";
import { parseArgs } from "node:util";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { SingleBar } from "cli-progress";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { type ImportTally, importRows } from "./import-rows.ts";
import { readRows } from "./read-rows.ts";

// `npm run import -- FILE [--url URL]` records the rows of a CSV file. It ends with code 0 if every row is recorded,
// now or before, with 1 if a row was rejected, and with 2 if it could not go on.

const usage = `usage: npm run import -- FILE [--url http://127.0.0.1:8080]
FILE is CSV, plain or gzip, with the columns request_id, user_id, word_count and timestamp; - reads standard input`;

const say = (line: string) => process.stderr.write(`${line}\n`);

try {
  const { file, url } = readArguments();
  const client = createClient(LearningLogService, createGrpcTransport({ baseUrl: url }));
  const tally: ImportTally = { created: 0, duplicates: 0, rejected: 0 };
  const bar = new SingleBar({ format: "{bar} {percentage}% | {rows} rows | {rate} rows/s" });
  const size = file === "-" ? 0 : (await stat(file)).size;
  const began = performance.now();
  const show = (bytes: number) => {
    const rows = tally.created + tally.duplicates + tally.rejected;
    const rate = Math.round((rows / (performance.now() - began)) * 1000);
    bar.update(Math.min(bytes, size), { rows, rate });
  };
  bar.start(size, 0, { rows: 0, rate: 0 });
  try {
    const onRejected = (line: number, reason: string) => say(`line ${line} rejected: ${reason}`);
    await importRows(client, readRows(file, show), onRejected, tally);
    show(size);
  } finally {
    bar.stop();
    process.stdout.write(
      `${tally.created} created, ${tally.duplicates} duplicates, ${tally.rejected} rejected\n`,
    );
  }
  process.exitCode = tally.rejected > 0 ? 1 : 0;
} catch (error) {
  say(error instanceof ConnectError ? `${error.message}\nRun it again to resume.` : reasonOf(error));
  process.exitCode = 2;
}

function readArguments(): { file: string; url: string } {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { url: { type: "string", default: "http://127.0.0.1:8080" } },
  });
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0) throw new Error(usage);
  return { file, url: values.url };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
