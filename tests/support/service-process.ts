import { onTestFinished } from "vitest";
import { ServerProcess, serviceScript } from "./server-process.ts";

/**
 * Starts the service as an operator does, on any free port, and does not wait until it listens. It is killed when the
 * test finishes, if it still runs then.
 */
export function launchServiceProcess(variables: Readonly<Record<string, string>>): ServerProcess {
  const service = ServerProcess.launch(serviceScript, { env: environmentOf(variables) });
  onTestFinished(async () => {
    await service.kill("SIGKILL");
  });
  return service;
}

/**
 * Starts the service on any free port, and waits until it listens. The caller disposes of it.
 *
 * @param variables the DATABASE_URL or the DATA_DIR, and other settings
 * @throws if it ends instead, with the last lines of its output
 */
export function startServiceProcess(variables: Readonly<Record<string, string>>): Promise<ServerProcess> {
  return ServerProcess.start(serviceScript, { env: environmentOf(variables) });
}

/** The environment of a service. It inherits no other settings from the environment of the tests. */
function environmentOf(variables: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, UNARY_PATH: process.env.UNARY_PATH, PORT: "0", ...variables };
}
