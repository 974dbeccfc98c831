import { randomUUID } from "node:crypto";
import { createServer, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { describe, expect, test, vi } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { runCommand } from "../support/command.ts";
import { listenOnFreePort } from "../support/free-port.ts";
import { useTestService } from "../support/test-service.ts";
import { csvOf, useCsvFiles } from "./import/csv-files.ts";

// Each test starts processes.
vi.setConfig({ testTimeout: 60_000 });

const service = useTestService();
checkAggregatesAfterAll(service.database);
const files = useCsvFiles();

describe("npm run import", () => {
  test("records a file, and reports all rows as duplicates the second time", async () => {
    const userId = randomUUID();
    const file = await files.write(csvOf(userId, 1234));
    const first = await runImport(file);
    expect(first).toMatchObject({ code: 0, stdout: "1234 created, 0 duplicates, 0 rejected\n" });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ words: 1234, entries: 1234 });

    const second = await runImport(file);
    expect(second).toMatchObject({ code: 0, stdout: "0 created, 1234 duplicates, 0 rejected\n" });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ words: 1234, entries: 1234 });
  });

  test("reads gzip-compressed rows from standard input", async () => {
    const result = await runImport("-", gzipSync(csvOf(randomUUID(), 10)));
    expect(result).toEqual({ code: 0, stdout: "10 created, 0 duplicates, 0 rejected\n", stderr: "" });
  });

  test("names each row that it rejects, and exits with 1", async () => {
    const csv = `${csvOf(randomUUID(), 2)}\n${randomUUID()},u,many,2024-02-29T12:00:00Z`;
    expect(await runImport("-", csv)).toEqual({
      code: 1,
      stdout: "2 created, 0 duplicates, 1 rejected\n",
      stderr: "line 4 rejected: word_count many is not a whole number from 0 to 2147483647\n",
    });
  });

  test("exits with 2 and the reason if the file is missing", async () => {
    const result = await runImport(files.missing);
    expect(result).toMatchObject({ code: 2, stderr: expect.stringMatching(/^import: ENOENT.*missing\.csv/) });
  });

  test("exits with 2 and the reason if the service cannot be reached, even if standard input stays open", async () => {
    const script = "src/commands/import.ts";
    const { code, stderr } = await runCommand(script, ["-", "--url", "http://127.0.0.1:1"]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^import: .*unavailable.*; run the import again to resume\n$/);
  });

  test("exits with 2 and its usage if no file is given", async () => {
    const result = await runCommand("src/commands/import.ts", []);
    expect(result).toEqual({
      code: 2,
      stdout: "",
      stderr: expect.stringMatching(/^import: usage: npm run import -- FILE/),
    });
  });

  test("prints its usage with --help", async () => {
    const result = await runCommand("src/commands/import.ts", ["--help"]);
    expect(result).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^usage: npm run import -- FILE/),
      stderr: "",
    });
  });

  test("exits with 2 and one line if the server at the URL does not respond", async () => {
    const sockets = new Set<Socket>();
    await using server = createServer((socket) => sockets.add(socket));
    const url = `http://127.0.0.1:${await listenOnFreePort(server)}`;
    const script = "src/commands/import.ts";
    const input = csvOf(randomUUID(), 10);
    const result = await runCommand(script, ["-", "--url", url, "--timeout", "1"], { input });
    for (const socket of sockets) socket.destroy();
    expect(result).toEqual({
      code: 2,
      stdout: "0 created, 0 duplicates, 0 rejected\n",
      stderr: `import: the service at ${url}: [deadline_exceeded] no answer within 1 seconds; run the import again to resume\n`,
    });
  });

  test("exits with 1 if a request_id is already recorded with another payload", async () => {
    const csv = csvOf(randomUUID(), 2);
    await runImport("-", csv);
    const result = await runImport("-", csv.replace(",1,", ",7,"));
    expect(result).toEqual({
      code: 1,
      stdout: "0 created, 1 duplicates, 1 rejected\n",
      stderr: expect.stringMatching(
        /^line 2 rejected: request_id [0-9a-f-]{36} is already recorded with another payload\n$/,
      ),
    });
  });

  test("reports how many timestamps it truncated to microseconds", async () => {
    const csv = csvOf(randomUUID(), 3).replaceAll("2:00.000Z", "2:00.0000001Z");
    expect(await runImport("-", csv)).toEqual({
      code: 0,
      stdout: "3 created, 0 duplicates, 0 rejected\n",
      stderr: "timestamps truncated to microseconds: 1\n",
    });
  });

  test("rejects rows that are too far ahead by the server's clock, even if its own clock is 2 days fast", async () => {
    const userId = randomUUID();
    const tomorrow = new Date(Date.now() + 25 * 3_600_000).toISOString();
    const ahead = () => `${randomUUID()},${userId},1,${tomorrow}`;
    const [first = "", ...rows] = csvOf(userId, 1200).split("\n");
    const csv = [first, ahead(), ...rows.slice(0, 600), ahead(), ahead(), ...rows.slice(600), ahead()].join(
      "\n",
    );
    const clock = "const now = Date.now; Date.now = () => now() + 2 * 86_400_000";
    const env = {
      NODE_OPTIONS: `--import=${JSON.stringify(`data:text/javascript,${encodeURIComponent(clock)}`)}`,
    };
    const reason =
      "timestamp: must be at most 24 hours ahead of the server's clock [timestamp.at_most_24h_ahead]";
    expect(await runImport("-", csv, env)).toEqual({
      code: 1,
      stdout: "1200 created, 0 duplicates, 4 rejected\n",
      stderr: [2, 603, 604, 1205].map((line) => `line ${line} rejected: ${reason}\n`).join(""),
    });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 1200 });
  });
});

function runImport(file: string, input?: string | Buffer, env: Record<string, string> = {}) {
  const args = [file, "--url", service.url];
  const options = input === undefined ? { env } : { env, input };
  return runCommand("src/commands/import.ts", args, options);
}
