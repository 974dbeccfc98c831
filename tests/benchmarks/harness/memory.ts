import { readFile } from "node:fs/promises";

/** Follows how much memory a process holds. */
export interface MemoryWatch {
  /** Ends it. @returns what was seen, in MB, in the order of time; empty where there is no `/proc` */
  end(): number[];
}

const intervalMs = 500;

/** Reads the resident set of a process twice a second. */
export function watchMemory(pid: number): MemoryWatch {
  const samples: number[] = [];
  const timer = setInterval(async () => {
    const kilobytes = await residentKilobytes(pid);
    if (kilobytes !== undefined) samples.push(kilobytes / 1024);
  }, intervalMs);
  return {
    end() {
      clearInterval(timer);
      return samples;
    },
  };
}

/** The resident set of a process; undefined where there is no `/proc`. */
export async function residentKilobytes(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
