import { setFlagsFromString } from "node:v8";
import { readConfig } from "./config.ts";
import { StartupError } from "./errors/startup-error.ts";
import { startService } from "./service.ts";
import { createLog } from "./telemetry/log.ts";

// The main program. Starts the service, and stops it on SIGTERM or SIGINT. Exits with code 0 after a clean stop. If
// the service cannot start or continue, writes one line to standard error and exits with code 1.

// Node keeps closed HTTP/2 streams until a full garbage collection. By default the heap may grow fourfold between two
// of these; under a load of writes, the process would then use 370 MB instead of 270 MB.
setFlagsFromString("--heap-growing-percent=75");
// V8 pretenures: code whose objects survived collections during startup then allocates directly in the old generation.
// An array of entries there keeps its entries until a full collection: a batch would cost the service a third more.
setFlagsFromString("--no-allocation-site-pretenuring");

/** How long a stop may take before the process exits anyway: less than `stop_grace_period` in docker-compose.yml. */
const stopWithinMs = 13_000;

/** A signal this soon after the first is ignored: for a Ctrl+C, the terminal sends one, and `npm start` another. */
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
    // Waits for a service that is still starting. If it fails to start, the last `catch` of this file reports it.
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
  // Exit explicitly: something still open, such as a connection whose login failed, could keep the process alive.
  process.exit(1);
}
