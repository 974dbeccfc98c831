import { type ParseArgsConfig, parseArgs } from "node:util";
import type { Config } from "../config.ts";
import { describeConnectError } from "../database/connect-error.ts";
import { findEmbeddedServer, startEmbeddedServer } from "../database/embedded/embedded-server.ts";
import { createLog } from "../telemetry/log.ts";

/** The command line is invalid. The message names the problem, followed by the usage of the command. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  /** @param problem omitted if the usage alone is sufficient */
  constructor(usage: string, problem?: string) {
    super(problem === undefined ? usage : `${problem}\n${usage}`);
  }
}

/**
 * Runs a command of the project. The process ends with the exit code that `run` returns. If `run` throws, the process
 * writes the reason to standard error and ends with `failureCode`.
 *
 * @param run returns the exit code; the resources that it adds to the stack are closed when it has finished
 */
export async function runCommand(
  name: string,
  failureCode: number,
  run: (stack: AsyncDisposableStack) => Promise<number>,
): Promise<void> {
  const fail = (error: unknown): never => {
    const reason = error instanceof UsageError ? error.message : describeConnectError(error);
    process.stderr.write(`${name}: ${reason}\n`);
    // node-postgres leaves the socket of a failed login open, which would keep the process running.
    process.exit(failureCode);
  };
  process.on("uncaughtException", fail);
  try {
    await using stack = new AsyncDisposableStack();
    process.exitCode = await run(stack);
  } catch (error) {
    fail(error);
  }
}

/**
 * Reads a command line as `parseArgs` of `node:util` does.
 *
 * @throws UsageError if the command does not accept one of the arguments
 */
export function parseCommandLine<Options extends ParseArgsConfig>(usage: string, options: Options) {
  try {
    return parseArgs(options);
  } catch (error) {
    throw new UsageError(usage, error instanceof Error ? error.message : String(error));
  }
}

/**
 * Returns the URL of the database that the service uses: DATABASE_URL, or that of the embedded server. If no service
 * is running, starts the embedded server, and stops it when the command has finished.
 */
export async function findDatabase(config: Config, stack: AsyncDisposableStack): Promise<string> {
  if (config.databaseUrl !== undefined) return config.databaseUrl;
  const log = createLog("error");
  const running = await findEmbeddedServer(config.dataDir, log);
  if (running !== undefined) return running;
  const server = await startEmbeddedServer({ dataDir: config.dataDir, log });
  stack.defer(() => server.stop());
  return server.url;
}
