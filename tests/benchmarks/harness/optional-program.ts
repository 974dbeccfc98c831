import { type ExecFileOptions, execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** @returns the standard output of a program; undefined if the program is not installed */
export async function runOptional(
  program: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<string | undefined> {
  try {
    const { stdout } = await execute(program, args, options);
    return stdout.toString();
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** A file that a program reads. It is deleted when it is disposed of. */
export async function temporaryFile(content: string | Buffer): Promise<AsyncDisposable & { path: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), "daily-aggregator-bench-file-"));
  const file = path.join(folder, "content");
  await writeFile(file, content);
  return { path: file, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}
