import { ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { SingleBar } from "cli-progress";
import { LearningLogService } from "#gen/dailyaggregator/v1/learning_log_service_pb.js";
import { runCommand } from "./command.ts";
import { type ImportArguments, readArguments, usage } from "./import/import-arguments.ts";
import { type ImportTally, importRows } from "./import/import-rows.ts";
import { readRows } from "./import/read-rows.ts";

// `npm run import -- FILE [--url URL]` records the rows of a CSV file. It ends with code 0 if every row is recorded,
// now or by an earlier import, with 1 if a row was rejected, and with 2 if the import could not be completed.

const printError = (line: string) => process.stderr.write(`${line}\n`);

await runCommand("import", 2, async () => {
  const args = await readArguments(process.argv.slice(2));
  if (args !== "help") return importFile(args);
  process.stdout.write(`${usage}\n`);
  return 0;
});

async function importFile({ file, size, url, timeoutMs }: ImportArguments): Promise<number> {
  const client = createClient(LearningLogService, createGrpcTransport({ baseUrl: url }));
  const tally: ImportTally = { created: 0, duplicates: 0, rejected: 0 };
  const bar = new SingleBar({ format: "{bar} {percentage}% | {rows} rows | {rate} rows/s" });
  const began = performance.now();
  const show = (bytes: number) => {
    const rows = tally.created + tally.duplicates + tally.rejected;
    const rate = Math.round((rows / (performance.now() - began)) * 1000);
    bar.update(Math.min(bytes, size), { rows, rate });
  };
  let finer = 0;
  bar.start(size, 0, { rows: 0, rate: 0 });
  try {
    const events = {
      onRejected: (line: number, reason: string) => printError(`line ${line} rejected: ${reason}`),
      onRetry: (reason: string) => printError(`${reason}; trying again`),
    };
    const rows = readRows(file, show, () => {
      finer += 1;
    });
    await importRows(client, rows, events, tally, timeoutMs);
    show(size);
  } catch (error) {
    if (!(error instanceof ConnectError)) throw error;
    const [reason] = error.message.split("\n", 1);
    throw new Error(`the service at ${url}: ${reason}; run the import again to resume`);
  } finally {
    bar.stop();
    if (finer > 0) printError(`timestamps truncated to microseconds: ${finer}`);
    const { created, duplicates, rejected } = tally;
    process.stdout.write(`${created} created, ${duplicates} duplicates, ${rejected} rejected\n`);
  }
  return tally.rejected > 0 ? 1 : 0;
}
