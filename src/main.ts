import { setFlagsFromString } from "node:v8";
import { readConfig } from "./config.ts";
import { StartupError } from "./errors/startup-error.ts";
import { startService } from "./service.ts";
import { createLog } from "./telemetry/log.ts";

// The process: it starts the service, stops it on SIGTERM or SIGINT, and ends with code 0, or with 1 and one line on
// standard error if it cannot start or go on.

// Closed streams of HTTP/2 stay until all garbage is collected, and by default the heap may grow fourfold before that:
// under a load of writes, the process would take 370 MB instead of 270.
setFlagsFromString("--heap-growing-percent=75");
// What outlived collections while the process started, V8 makes among the old objects from then on. An array of entries
// there keeps all of them until the full collection: a batch would cost the service a third more.
setFlagsFromString("--no-allocation-site-pretenuring");

/** A stop that takes longer ends the process as it is: less than a container is given. */
const stopWithinMs = 13_000;

/** Ctrl-C reaches this process twice under `npm start`: from the terminal and from npm. */
const repeatedSignalMs = 500;

try {
  const config = readConfig(process.env);
  const log = createLog(config.logLevel);
  const starting = startService(config, log);

  let stoppingSince: number | undefined;
  const stop = async (signal: NodeJS.Signals) => {
    if (stoppingSince !== undefined) {
      if (performance.now() - stoppingSince < repeatedSignalMs) return;
      log.warn({ signal }, "ended by a second signal");
      process.exit(1);
    }
    stoppingSince = performance.now();
    setTimeout(() => {
      log.error(`could not stop within ${stopWithinMs / 1000} seconds`);
      process.exit(1);
    }, stopWithinMs).unref();
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
  throw await service.failed;
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`daily-aggregator: ${error.message}\n`);
  // Whatever is still open, such as a connection whose login failed, must not keep the process.
  process.exit(1);
}
