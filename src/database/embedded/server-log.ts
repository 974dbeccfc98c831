import { readFile, stat } from "node:fs/promises";

/** In bytes; 0 if there is none yet. */
export async function logSize(logFile: string): Promise<number> {
  return stat(logFile).then(
    ({ size }) => size,
    () => 0,
  );
}

/**
 * What the server could not do; not what the dying connections of an earlier one say meanwhile.
 *
 * @param start where in the file to begin, in bytes
 */
export async function lastFatalLine(logFile: string, start: number): Promise<string | undefined> {
  const bytes = await readFile(logFile).catch(() => Buffer.alloc(0));
  const lines = bytes.subarray(start).toString().split("\n");
  const last = lines.findLast(
    (line) => /\b(FATAL|PANIC|could not|cannot)\b/.test(line) && !/terminating connection/.test(line),
  );
  return last?.replace(/^.*?(FATAL|PANIC): +/, "");
}
