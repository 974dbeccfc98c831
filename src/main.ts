import { setFlagsFromString } from "node:v8";
import { readConfig } from "./config.ts";
import { StartupError } from "./errors/startup-error.ts";
import { startService } from "./service.ts";
import { createLog } from "./telemetry/log.ts";

// The process: it starts the service, stops it on SIGTERM or SIGINT, and ends with code 0, or with 1 and one line on
// standard error if it cannot start.

// Closed streams of HTTP/2 stay until all garbage is collected, and by default the heap may grow fourfold before that:
// under a load of writes, the process would take 370 MB instead of 270.
setFlagsFromString("--heap-growing-percent=75");
// What outlived collections while the process started, V8 makes among the old objects from then on. An array of entries
// there keeps all of them until the full collection: a batch would cost the service a third more.
setFlagsFromString("--no-allocation-site-pretenuring");

try {
  const config = readConfig(process.env);
  const log = createLog(config.logLevel);
  const starting = startService(config, log);

  let stopping = false;
  const stop = async (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, "stopping");
    // One that is just starting is stopped, too; if it cannot start, that is told below.
    const service = await starting.catch(() => undefined);
    if (service === undefined) return;
    try {
      await service.stop();
      log.info("stopped");
      process.exit(0);
    } catch (error) {
      log.error({ err: error }, "could not stop cleanly");
      process.exit(1);
    }
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);

  const service = await starting;
  log.info({ url: service.url }, `listening on ${service.url}`);
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`daily-aggregator: ${error.message}\n`);
  process.exitCode = 1;
}
