import { type ChildProcess, spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { glob, readFile } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

// `npm run test:random` runs the test files that use random values, in rounds. Each round has a new seed, and ten times
// as many values as `npm test`. It stops at the first failure. With `-- --minutes 120`, it begins no round after two
// hours. Further arguments select files, as in `-- --minutes 5 tests/transport`.

const effort = 10;

const { values, positionals } = parseArgs({
  options: { minutes: { type: "string", default: "10" } },
  allowPositionals: true,
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new Error("--minutes must be a number greater than 0");

const files = (await randomTests()).filter(
  (file) => positionals.length === 0 || positionals.some((part) => file.includes(part)),
);
if (files.length === 0) throw new Error(`no test file with random values matches ${positionals.join(" ")}`);

let running: ChildProcess | undefined;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    running?.kill(signal);
    process.exitCode = 1;
    stopped = true;
  });
}
let stopped = false;

const start = performance.now();
const minutesSoFar = () => (performance.now() - start) / 60_000;
let rounds = 0;
while (!stopped && minutesSoFar() < minutes) {
  const settings = { RANDOM_SEED: String(randomInt(2 ** 31)), RANDOM_EFFORT: String(effort) };
  const assignments = Object.entries(settings).map((pair) => pair.join("="));
  write(`== round ${rounds + 1}, after ${minutesSoFar().toFixed(1)} minutes: ${assignments.join(" ")}`);
  const passed = await runTests(settings);
  if (stopped) break;
  if (!passed) {
    write(`\nTo repeat the failure: ${assignments.join(" ")} npm test -- ${files.join(" ")}`);
    process.exitCode = 1;
    break;
  }
  rounds += 1;
}
write(`rounds that passed: ${rounds}, in ${minutesSoFar().toFixed(1)} minutes`);

/** Returns the test files that use the seed. */
async function randomTests(): Promise<string[]> {
  const found: string[] = [];
  for await (const file of glob("tests/**/*.test.ts")) {
    if ((await readFile(file, "utf8")).includes("/support/random.ts")) found.push(file);
  }
  return found.sort();
}

async function runTests(settings: Readonly<Record<string, string>>): Promise<boolean> {
  const vitest = path.resolve("node_modules/vitest/vitest.mjs");
  running = spawn(process.execPath, [vitest, "run", "--bail=1", ...files], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, ...settings },
  });
  const [code] = await once(running, "exit");
  return code === 0;
}

function write(line: string): void {
  process.stdout.write(`${line}\n`);
}
