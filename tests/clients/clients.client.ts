import { execFile, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { useTestService } from "../support/test-service.ts";
import { readSteps } from "./documented-steps.ts";

const service = useTestService();
const root = path.join(import.meta.dirname, "../..");
const run = promisify(execFile);

test.for([
  ["Go", ["go", "protoc"]],
  ["Python", ["python3"]],
] as const)(
  "a client in %s can be built and run as docs/clients.md describes",
  async ([language, tools], { skip }) => {
    const missing = tools.filter((tool) => spawnSync(tool, ["--help"]).error);
    if (missing.length > 0) skip(`not found on the PATH: ${missing.join(", ")}`);
    const folder = await makeFolder();
    for (const step of await readSteps(path.join(root, "docs/clients.md"), language)) {
      if (step.kind === "file") {
        await writeFile(path.join(folder, step.name), here(step.content));
      } else {
        // A reader's shell keeps the PATH from one block to the next.
        const commands = `set -euo pipefail\nexport PATH="$PATH:$(go env GOPATH 2>/dev/null)/bin"\n${here(step.commands)}`;
        const { stdout } = await run("bash", ["-c", commands], { cwd: folder });
        if (step.output !== "") expect(stdout).toBe(step.output);
      }
    }
  },
);

/** Creates a folder beside one that is called `daily-aggregator`. Both are removed when the test finishes. */
async function makeFolder(): Promise<string> {
  const parent = await mkdtemp(path.join(tmpdir(), "daily-aggregator-clients-"));
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
  await symlink(root, path.join(parent, "daily-aggregator"));
  const folder = path.join(parent, "learning");
  await mkdir(folder);
  return folder;
}

function here(text: string): string {
  return text.replaceAll("127.0.0.1:8080", new URL(service.url).host);
}
