import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { rm, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { grpcClient } from "../support/clients.ts";
import { runCommand } from "../support/command.ts";
import { execute } from "../support/connection.ts";
import {
  embeddedDatabaseUrl,
  isPostgresRunning,
  killPostgres,
  makeDataDir,
  postmasterPid,
  useDataTemplate,
} from "../support/data-folder.ts";
import { launchServiceProcess } from "../support/service-process.ts";

// The tests start and stop whole processes, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

const template = useDataTemplate();

test("the service needs only a folder, keeps its data there, and leaves no process behind", async () => {
  const DATA_DIR = await makeDataDir();
  const entry = { requestId: randomUUID(), userId: "mia", wordCount: 3 };

  const first = launchServiceProcess({ DATA_DIR });
  await expect(grpcClient(await first.listening).createEntry(entry)).resolves.toMatchObject({
    entry: { wordCount: 3 },
  });
  await expect(first.kill("SIGTERM")).resolves.toEqual({ code: 0, signal: null, stderr: "" });
  await expect(isPostgresRunning(DATA_DIR)).resolves.toBe(false);

  const second = launchServiceProcess({ DATA_DIR });
  const repeated = await grpcClient(await second.listening)
    .createEntry(entry)
    .catch(ConnectError.from);
  expect(repeated).toMatchObject({ code: Code.AlreadyExists });
  await expect(second.kill("SIGINT")).resolves.toEqual({ code: 0, signal: null, stderr: "" });
  await expect(isPostgresRunning(DATA_DIR)).resolves.toBe(false);
});

test("a SIGTERM during the start leaves no process behind", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const service = launchServiceProcess({ DATA_DIR });
  while (!existsSync(path.join(DATA_DIR, "postgres/postmaster.pid"))) await sleep(10);
  await expect(service.kill("SIGTERM")).resolves.toEqual({ code: 0, signal: null, stderr: "" });
  await expect(isPostgresRunning(DATA_DIR)).resolves.toBe(false);
});

test("the service takes over the PostgreSQL that a killed service left running", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const entry = { requestId: randomUUID(), userId: "mia", wordCount: 3 };
  const killed = launchServiceProcess({ DATA_DIR });
  await grpcClient(await killed.listening).createEntry(entry);
  const pid = await postmasterPid(DATA_DIR);
  await killed.kill("SIGKILL");

  const service = launchServiceProcess({ DATA_DIR });
  const repeated = await grpcClient(await service.listening)
    .createEntry(entry)
    .catch(ConnectError.from);
  expect(repeated).toMatchObject({ code: Code.AlreadyExists });
  await expect(postmasterPid(DATA_DIR)).resolves.toBe(pid);
  await expect(service.kill("SIGTERM")).resolves.toMatchObject({ code: 0 });
  await expect(isPostgresRunning(DATA_DIR)).resolves.toBe(false);
});

test("of two services that start together in an empty folder, one runs, and one exits with the reason", async () => {
  const DATA_DIR = await makeDataDir();
  const both = [launchServiceProcess({ DATA_DIR }), launchServiceProcess({ DATA_DIR })];
  const refused = await Promise.race(both.map(({ ended }) => ended));
  expect(refused).toEqual({ code: 1, signal: null, stderr: inUse(DATA_DIR) });

  const running = grpcClient(await Promise.any(both.map(({ listening }) => listening)));
  await running.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 3 });
});

test("a second service in the same folder exits with the reason, and does not disturb the first", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const first = grpcClient(await launchServiceProcess({ DATA_DIR }).listening);
  const second = launchServiceProcess({ DATA_DIR });
  await expect(second.ended).resolves.toEqual({ code: 1, signal: null, stderr: inUse(DATA_DIR) });
  await first.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 3 });
});

test("after PostgreSQL or one of its processes is killed, the service serves again, alone in its folder", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const service = launchServiceProcess({ DATA_DIR });
  const client = grpcClient(await service.listening);
  const pid = await postmasterPid(DATA_DIR);
  const faults = [
    async () => process.kill(await backendPid(DATA_DIR), "SIGKILL"),
    () => killPostgres(DATA_DIR, "SIGKILL"),
  ];
  for (const fault of faults) {
    await fault();
    const second = launchServiceProcess({ DATA_DIR });
    await expect(second.ended).resolves.toEqual({ code: 1, signal: null, stderr: inUse(DATA_DIR) });
    const entry = { requestId: randomUUID(), userId: "mia", wordCount: 3 };
    const write = () => client.createEntry(entry).then(() => "created", codeOf);
    await expect
      .poll(write, { timeout: 60_000, interval: 200 })
      .toSatisfy((outcome) => outcome === "created" || outcome === Code.AlreadyExists);
  }
  await expect(postmasterPid(DATA_DIR)).resolves.not.toBe(pid);
  await expect(service.kill("SIGTERM")).resolves.toEqual({ code: 0, signal: null, stderr: "" });
  await expect(isPostgresRunning(DATA_DIR)).resolves.toBe(false);
});

test("the service exits with a one-line error if its PostgreSQL is killed and cannot be restarted", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const service = launchServiceProcess({ DATA_DIR });
  await service.listening;
  await truncate(path.join(DATA_DIR, "postgres/global/pg_control"), 0);
  await killPostgres(DATA_DIR, "SIGKILL");
  const { code, stderr } = await service.ended;
  expect(stderr).toMatch(
    /^daily-aggregator: lost the connection to the embedded PostgreSQL and cannot restore it: .+\n$/,
  );
  expect(code).toBe(1);
});

test("npm run verify works while the service runs, with and without --repair", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const service = launchServiceProcess({ DATA_DIR });
  const client = grpcClient(await service.listening);
  await client.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 3 });
  for (const args of [[], ["--repair"]]) {
    const verified = await runCommand("src/commands/verify.ts", args, {
      env: { DATA_DIR, DATABASE_URL: "" },
    });
    expect(verified).toEqual({ code: 0, stdout: "the aggregates agree with the log\n", stderr: "" });
  }
  await client.createEntry({ requestId: randomUUID(), userId: "mia", wordCount: 3 });
});

/** The id of the PostgreSQL process that serves one of the service's connections. */
async function backendPid(dataDir: string): Promise<number> {
  const [row] = await execute<{ pid: number }>(
    await embeddedDatabaseUrl(dataDir),
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'daily-aggregator %' LIMIT 1",
  );
  if (row === undefined) throw new Error("the service has no connection");
  return row.pid;
}

function codeOf(error: unknown): Code {
  return ConnectError.from(error).code;
}

function inUse(dataDir: string): string {
  return `daily-aggregator: DATA_DIR ${dataDir} is in use by another daily-aggregator\n`;
}

test("the service stops cleanly if its PostgreSQL was killed", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const service = launchServiceProcess({ DATA_DIR });
  await service.listening;
  await killPostgres(DATA_DIR, "SIGKILL");
  await expect(service.kill("SIGTERM")).resolves.toEqual({ code: 0, signal: null, stderr: "" });
});

test.for([
  ["with a truncated control file", "global/pg_control", (file: string) => truncate(file, 0)],
  ["without a version file", "PG_VERSION", (file: string) => rm(file)],
  ["of another version", "PG_VERSION", (file: string) => writeFile(file, "9\n")],
  ["with a broken configuration", "postgresql.conf", (file: string) => writeFile(file, "nonsense = \n")],
] as const)("the service exits with a one-line error for data %s", async ([, file, damage]) => {
  const DATA_DIR = await makeDataDir(template.path);
  await damage(path.join(DATA_DIR, "postgres", file));

  const { code, stderr } = await launchServiceProcess({ DATA_DIR }).ended;
  expect(stderr).toMatch(/^daily-aggregator: .+\n$/);
  expect(stderr).toContain(`the embedded PostgreSQL in DATA_DIR ${DATA_DIR} does not start: `);
  expect(code).toBe(1);
  await expect(isPostgresRunning(DATA_DIR)).resolves.toBe(false);
});

test.for([
  ["a file", "file"],
  ["below a file", "file/below"],
] as const)("the service exits with a one-line error if DATA_DIR is %s", async ([, place]) => {
  const folder = await makeDataDir();
  await writeFile(path.join(folder, "file"), "a regular file");
  const DATA_DIR = path.join(folder, place);
  const { code, stderr } = await launchServiceProcess({ DATA_DIR }).ended;
  expect(stderr).toMatch(/^daily-aggregator: .+\n$/);
  expect(stderr).toContain(`cannot write DATA_DIR ${DATA_DIR}`);
  expect(code).toBe(1);
});
