import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { type AdapterName, adapterNames } from "../support/adapters.ts";
import { findSuite, howToGetSuite, type Suite, writeSchema } from "./suite.ts";

// `npm run test:conformance` runs the official suite (https://github.com/connectrpc/conformance) against a server
// behind each adapter. With `-- --if-installed`, it succeeds if the suite is not installed. Other options after `--`
// are passed to the suite's runner, as in `-- --run "Basic/**" --trace`.

/** The time limit for a run that hangs, several times as long as a run takes. */
const timeLimitMs = 120_000;

const [, , ...options] = process.argv;
const runnerOptions = options.filter((option) => option !== "--if-installed");

const suite = await findSuite();
if (suite !== undefined) {
  process.exitCode = await runAll(suite);
} else {
  write(howToGetSuite);
  process.exitCode = runnerOptions.length < options.length ? 0 : 1;
}

/** @returns the exit code */
async function runAll(suite: Suite): Promise<number> {
  const folder = await mkdtemp(path.join(tmpdir(), "conformance-"));
  try {
    const schemaFile = path.join(folder, "schema.binpb");
    await writeSchema(suite, schemaFile);
    const outcomes: Outcome[] = [];
    for (const adapter of adapterNames) {
      write(`== ${adapter}`);
      outcomes.push(await run(suite, adapter, schemaFile));
    }
    write(`\nThe conformance suite ${suite.version}:`);
    for (const { adapter, counts, seconds } of outcomes) {
      write(`  ${adapter.padEnd(14)}${counts}, in ${seconds.toFixed(0)} s`);
    }
    return outcomes.every(({ passed }) => passed) ? 0 : 1;
  } finally {
    await rm(folder, { recursive: true });
  }
}

interface Outcome {
  readonly adapter: AdapterName;
  readonly passed: boolean;
  /** The runner's line with the numbers of passed and failed cases. */
  readonly counts: string;
  readonly seconds: number;
}

async function run({ runner }: Suite, adapter: AdapterName, schemaFile: string): Promise<Outcome> {
  const start = performance.now();
  const features = path.join(import.meta.dirname, "features.yaml");
  const server = [process.execPath, path.join(import.meta.dirname, "server.ts"), adapter];
  const child = spawn(
    runner,
    ["--mode", "server", "--conf", features, "--parallel", "16", ...runnerOptions, "--", ...server],
    {
      env: { ...process.env, CONFORMANCE_SCHEMA: schemaFile },
      stdio: ["ignore", "pipe", "inherit"],
      timeout: timeLimitMs,
    },
  );
  let counts = "no result";
  createInterface(child.stdout).on("line", (line) => {
    write(line);
    if (/^\d+ passed, \d+ failed/.test(line)) counts = line;
  });
  const [code] = await once(child, "close");
  return { adapter, passed: code === 0, counts, seconds: (performance.now() - start) / 1000 };
}

function write(line: string): void {
  process.stdout.write(`${line}\n`);
}
