import { readFile, stat } from "node:fs/promises";

/** Returns the size of the log in bytes; 0 if it does not exist. */
export async function logSize(logFile: string): Promise<number> {
  return stat(logFile).then(
    ({ size }) => size,
    () => 0,
  );
}

/**
 * Returns the last line that reports a failure, without the prefix before the message. Ignores the lines with
 * `terminating connection`, which the backends of a killed server may log at the same time.
 *
 * @param start the offset in the file at which to begin, in bytes
 */
export async function lastFatalLine(logFile: string, start: number): Promise<string | undefined> {
  const bytes = await readFile(logFile).catch(() => Buffer.alloc(0));
  const lines = bytes.subarray(start).toString().split("\n");
  const last = lines.findLast(
    (line) => /\b(FATAL|PANIC|could not|cannot)\b/.test(line) && !/terminating connection/.test(line),
  );
  return last?.replace(/^.*?(FATAL|PANIC): +/, "");
}
