import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

// `npm run test:contract` compares the proto files with those of every commit that changed them, with `buf breaking`.
// Names and numbers are final once they are committed, so that clients of all earlier versions can call this version.

const run = promisify(execFile);

const contract = "proto/dailyaggregator";

const versions = await earlierVersions();
const folder = await mkdtemp(path.join(tmpdir(), "contract-"));
try {
  for (const commit of versions) {
    const archive = path.join(folder, `${commit}.tar`);
    await run("git", ["archive", "--output", archive, commit, "proto"]);
    if (!(await isCompatible(archive))) {
      write(`a client of ${commit.slice(0, 7)} cannot call this version`);
      process.exitCode = 1;
    }
  }
  if (process.exitCode !== 1)
    write(`the contract is compatible with its ${versions.length} committed versions`);
} finally {
  await rm(folder, { recursive: true });
}

async function earlierVersions(): Promise<string[]> {
  if ((await git("rev-parse", "--is-shallow-repository")) === "true") {
    write("this clone is shallow, so versions are missing: git fetch --unshallow");
  }
  const commits = await git("log", "--format=%H", "--", contract);
  return commits.split("\n").filter((commit) => commit !== "");
}

async function git(...args: string[]): Promise<string> {
  const { stdout } = await run("git", args);
  return stdout.trim();
}

async function isCompatible(archive: string): Promise<boolean> {
  const buf = spawn("buf", ["breaking", "proto", "--against", `${archive}#subdir=proto`], {
    stdio: "inherit",
  });
  const [code] = await once(buf, "exit");
  return code === 0;
}

function write(line: string): void {
  process.stdout.write(`${line}\n`);
}
