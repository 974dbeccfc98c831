import { randomUUID } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";

/** The CSV files of one test file. */
export interface CsvFiles {
  /** Writes a file. @returns its path */
  write(content: string | Buffer): Promise<string>;
  /** A path at which no file exists. */
  readonly missing: string;
}

export const header = "request_id,user_id,word_count,timestamp";

/** Call it at the top of a test file. The CSV files are deleted after its last test. */
export function useCsvFiles(): CsvFiles {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "daily-aggregator-import-"));
  });
  afterAll(() => rm(directory, { recursive: true }));
  return {
    async write(content) {
      const file = path.join(directory, `${randomUUID()}.csv`);
      await writeFile(file, content);
      return file;
    },
    get missing() {
      return path.join(directory, "missing.csv");
    },
  };
}

/** CSV with this number of entries of one learner, of one word each, a minute apart. */
export function csvOf(userId: string, count: number): string {
  const start = Date.parse("2024-02-29T00:00:00Z");
  const rows = Array.from({ length: count }, (_, index) =>
    [randomUUID(), userId, 1, new Date(start + index * 60_000).toISOString()].join(","),
  );
  return [header, ...rows].join("\n");
}
