import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll } from "../../support/aggregates.ts";
import { runCommand } from "../../support/command.ts";
import { useTestService } from "../../support/test-service.ts";
import { csvOf, useCsvFiles } from "./csv-files.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);
const files = useCsvFiles();

describe("npm run import", () => {
  test("records a file, and the second time finds all of it recorded", async () => {
    const userId = randomUUID();
    const file = await files.write(csvOf(userId, 1234));
    const first = await runImport(file);
    expect(first).toMatchObject({ code: 0, stdout: "1234 created, 0 duplicates, 0 rejected\n" });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ words: 1234, entries: 1234 });

    const second = await runImport(file);
    expect(second).toMatchObject({ code: 0, stdout: "0 created, 1234 duplicates, 0 rejected\n" });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ words: 1234, entries: 1234 });
  });

  test("reads standard input, packed with gzip", async () => {
    const result = await runImport("-", gzipSync(csvOf(randomUUID(), 10)));
    expect(result).toEqual({ code: 0, stdout: "10 created, 0 duplicates, 0 rejected\n", stderr: "" });
  });

  test("names each row that it rejects, and ends with 1", async () => {
    const csv = `${csvOf(randomUUID(), 2)}\n${randomUUID()},u,many,2024-02-29T12:00:00Z`;
    expect(await runImport("-", csv)).toEqual({
      code: 1,
      stdout: "2 created, 0 duplicates, 1 rejected\n",
      stderr: "line 4 rejected: word_count many is no whole number from 0 to 2147483647\n",
    });
  });

  test("ends with 2 and the reason if the file is not there", async () => {
    const result = await runImport(files.missing);
    expect(result).toMatchObject({ code: 2, stderr: expect.stringMatching(/^ENOENT.*missing\.csv/) });
  });

  test("ends with 2 and the reason if there is no service, even if standard input stays open", async () => {
    const script = "src/entries/import/import-command.ts";
    const { code, stderr } = await runCommand(script, ["-", "--url", "http://127.0.0.1:1"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/unavailable.*\nRun it again to resume\.\n$/);
  });

  test("ends with 2 and its usage if it is not told a file", async () => {
    const result = await runCommand("src/entries/import/import-command.ts", []);
    expect(result).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^usage: npm run import -- FILE/),
    });
  });
});

function runImport(file: string, input?: string | Buffer) {
  const args = [file, "--url", service.url];
  return runCommand("src/entries/import/import-command.ts", args, input === undefined ? {} : { input });
}
