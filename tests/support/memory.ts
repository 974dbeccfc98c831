import { readFile } from "node:fs/promises";

/** Measures the memory of a process at intervals. */
export interface MemoryWatch {
  /** Stops measuring. @returns the values in MB, in the order of time; empty where there is no `/proc` */
  end(): number[];
}

/** Starts to measure the resident set of a process at this interval. */
export function watchMemory(pid: number, intervalMs: number): MemoryWatch {
  const samples: number[] = [];
  const timer = setInterval(async () => {
    const megabytes = await residentMb(pid);
    if (!Number.isNaN(megabytes)) samples.push(megabytes);
  }, intervalMs);
  return {
    end() {
      clearInterval(timer);
      return samples;
    },
  };
}

/** The resident set of a process in MB; NaN where there is no `/proc`. */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
  return Number(kilobytes) / 1024;
}
