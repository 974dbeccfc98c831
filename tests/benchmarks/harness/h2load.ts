import type { Effort } from "./benchmark.ts";
import type { Measurement } from "./load.ts";
import { runOptional, temporaryFile } from "./optional-program.ts";

interface H2loadOptions {
  readonly connections: number;
  readonly inFlightPerConnection: number;
  /** The request in its envelope. */
  readonly framed: Buffer;
}

/**
 * Runs h2load, the load generator of nghttp2: a closed loop of gRPC calls. It is written in C, and takes a small part of
 * the time that a server takes. It does not read the gRPC status of an answer.
 *
 * @param url the URL of the method
 * @returns undefined if h2load is not installed
 * @throws if a call is not answered with HTTP status 200
 */
export async function measureH2load(
  url: string,
  { connections, inFlightPerConnection, framed }: H2loadOptions,
  { warmUpSeconds, seconds }: Pick<Effort, "warmUpSeconds" | "seconds">,
): Promise<Measurement | undefined> {
  await using body = await temporaryFile(framed);
  const load = ["--clients", `${connections}`, "--max-concurrent-streams", `${inFlightPerConnection}`];
  const time = ["--warm-up-time", `${warmUpSeconds * 1000}ms`, "--duration", `${seconds}`];
  const headers = ["--header", "content-type: application/grpc", "--header", "te: trailers"];
  const args = [...load, ...time, ...headers, "--data", body.path, url];
  const output = await runOptional("h2load", args, { timeout: (warmUpSeconds + seconds + 60) * 1000 });
  return output === undefined ? undefined : { rate: readRate(output) };
}

function readRate(output: string): number {
  const rate = /^finished in .*?, ([\d.]+) req\/s/m.exec(output)?.[1];
  const isComplete =
    /, 0 failed, 0 errored, 0 timeout$/m.test(output) && / 0 3xx, 0 4xx, 0 5xx$/m.test(output);
  if (rate === undefined || !isComplete) throw new Error(`h2load reports failed calls:\n${output}`);
  return Number(rate);
}
