import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { makeDataDir, startServiceProcess, useDataTemplate } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";

// An operator who set something wrong reads one line, and nothing secret in it.

// Whole processes start and stop here, and machines can be busy.
vi.setConfig({ testTimeout: 120_000 });

const database = useTestDatabase();
const template = useDataTemplate();

test.for([
  ["PORT", "abc", "PORT must be a whole number from 0 to 65535"],
  ["LOG_LEVEL", "loud", "LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent"],
  ["MIGRATE_ON_START", "maybe", "MIGRATE_ON_START must be true or false"],
  [
    "CORS_ORIGINS",
    "nonsense",
    "CORS_ORIGINS must be origins such as https://app.example.com, separated by commas, or *",
  ],
  ["DATABASE_READ_CONNECTIONS", "0", "DATABASE_READ_CONNECTIONS must be a whole number from 1 to 1000"],
  [
    "DATABASE_URL",
    "host=db password=secret",
    "DATABASE_URL must be a URL such as postgres://user:password@host:5432/database",
  ],
] as const)("%s=%s", async ([name, value, message]) => {
  const { ended } = startServiceProcess({ [name]: value });
  await expect(ended).resolves.toEqual({
    code: 1,
    signal: null,
    stderr: `daily-aggregator: ${message}\n`,
  });
});

test.for([
  ["a port where nobody listens", { port: "1", password: "secret" }, "ECONNREFUSED"],
  ["a host that does not exist", { hostname: "db.invalid", password: "secret" }, "db.invalid"],
  // A server that trusts whoever comes from this machine knows no wrong passwords, but unknown users.
  ["a wrong user and password", { username: "nobody", password: "secret" }, '"nobody"'],
  ["an unknown database", { pathname: "/nowhere" }, '"nowhere" does not exist'],
] as const)("DATABASE_URL with %s", async ([, parts, reason]) => {
  const { href } = Object.assign(new URL(database.url), parts);
  const { code, stderr } = await startServiceProcess({ DATABASE_URL: href }).ended;
  expect(stderr).toMatch(/^daily-aggregator: cannot connect to the database \(DATABASE_URL\): .+\n$/);
  expect(stderr).toContain(reason);
  expect(stderr).not.toMatch(/secret|:\/\//);
  expect(code).toBe(1);
});

test("DATABASE_URL of something that is no PostgreSQL", async () => {
  const { port } = await listen((socket) => socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const DATABASE_URL = `postgres://user:secret@127.0.0.1:${port}/database`;
  const { code, stderr } = await startServiceProcess({ DATABASE_URL }).ended;
  expect(stderr).toMatch(/^daily-aggregator: cannot connect to the database \(DATABASE_URL\): .+\n$/);
  expect(stderr).not.toContain("secret");
  expect(code).toBe(1);
});

test("a port that is taken", async () => {
  const { port } = await listen(() => {});
  const DATA_DIR = await makeDataDir(template.path);
  const { code, stderr } = await startServiceProcess({ DATA_DIR, PORT: String(port) }).ended;
  expect(stderr).toBe(
    `daily-aggregator: cannot listen on HOST 127.0.0.1, PORT ${port}: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
  );
  expect(code).toBe(1);
});

test("a host to listen on that is none of this machine", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const { code, stderr } = await startServiceProcess({ DATA_DIR, HOST: "192.0.2.1" }).ended;
  expect(stderr).toMatch(/^daily-aggregator: cannot listen on HOST 192\.0\.2\.1, PORT 0: .+\n$/);
  expect(code).toBe(1);
});

/** A server on a free port until the test finishes. */
async function listen(onConnection: (socket: Socket) => void): Promise<AddressInfo> {
  const server = createServer(onConnection);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    await new Promise((resolve) => server.close(resolve));
  });
  return server.address() as AddressInfo;
}
