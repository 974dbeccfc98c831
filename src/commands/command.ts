import { type ParseArgsConfig, parseArgs } from "node:util";
import type { Config } from "../config.ts";
import { describeConnectError } from "../database/connect-error.ts";
import { findEmbeddedServer, startEmbeddedServer } from "../database/embedded/embedded-server.ts";
import { createLog } from "../telemetry/log.ts";

/** The command line is wrong. The message says what is wrong with it, and then how the command is used. */
export class UsageError extends Error {
  override readonly name = "UsageError";

  /** @param problem left out if there is nothing to say but the usage */
  constructor(usage: string, problem?: string) {
    super(problem === undefined ? usage : `${problem}\n${usage}`);
  }
}

/**
 * Runs a command of the project: it ends the process with the exit code that `run` returns. If `run` throws, it ends the
 * process with another code, and with the reason on standard error.
 *
 * @param run defers what is to be closed when the command is done
 */
export async function runCommand(
  name: string,
  failureCode: number,
  run: (stack: AsyncDisposableStack) => Promise<number>,
): Promise<void> {
  const fail = (error: unknown): never => {
    const reason = error instanceof UsageError ? error.message : describeConnectError(error);
    process.stderr.write(`${name}: ${reason}\n`);
    // node-postgres keeps the socket of a login that failed, and with it the process.
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
 * @throws UsageError if there is an argument that the command does not take
 */
export function parseCommandLine<Options extends ParseArgsConfig>(usage: string, options: Options) {
  try {
    return parseArgs(options);
  } catch (error) {
    throw new UsageError(usage, error instanceof Error ? error.message : String(error));
  }
}

/**
 * The URL of the database that the service uses: DATABASE_URL, or the embedded server. That server is started if it does
 * not run, and stopped when the command is done.
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
