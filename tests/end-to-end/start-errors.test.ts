import { createServer, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { startEmbeddedServer } from "../../src/database/embedded/embedded-server.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { runCommand } from "../support/command.ts";
import { makeDataDir, useDataTemplate } from "../support/data-folder.ts";
import { listenOnFreePort } from "../support/free-port.ts";
import { launchServiceProcess } from "../support/service-process.ts";
import { useTestDatabase } from "../support/test-database.ts";

// After a wrong setting, an operator gets a one-line error, which contains no secret.

// The tests start and stop whole processes, and the machine may be busy.
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
  ["DATABASE_READ_CONNECTIONS", "1", "DATABASE_READ_CONNECTIONS must be a whole number from 2 to 1000"],
  [
    "DATABASE_URL",
    "host=db password=secret",
    "DATABASE_URL must be a URL such as postgres://user:password@host:5432/database",
  ],
] as const)("%s=%s prevents the start with a one-line error", async ([name, value, message]) => {
  const { ended } = launchServiceProcess({ [name]: value });
  await expect(ended).resolves.toEqual({
    code: 1,
    signal: null,
    stderr: `daily-aggregator: ${message}\n`,
  });
});

test.for([
  ["a port without a listener", { port: "1", password: "secret" }, "ECONNREFUSED"],
  ["a host that does not exist", { hostname: "db.invalid", password: "secret" }, "db.invalid"],
  // A server that trusts local connections accepts any password, but no unknown user.
  ["a wrong user and password", { username: "nobody", password: "secret" }, '"nobody"'],
  ["an unknown database", { pathname: "/nowhere" }, '"nowhere" does not exist'],
] as const)("DATABASE_URL with %s prevents the start with a one-line error", async ([, parts, reason]) => {
  const { href } = Object.assign(new URL(database.url), parts);
  const { code, stderr } = await launchServiceProcess({ DATABASE_URL: href }).ended;
  expect(stderr).toMatch(/^daily-aggregator: cannot connect to the database \(DATABASE_URL\): .+\n$/);
  expect(stderr).toContain(reason);
  expect(stderr).not.toMatch(/secret|:\/\//);
  expect(code).toBe(1);
});

test("DATABASE_URL of a server that is not PostgreSQL prevents the start with a one-line error", async () => {
  const port = await listen((socket) => socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const DATABASE_URL = `postgres://user:secret@127.0.0.1:${port}/database`;
  const { code, stderr } = await launchServiceProcess({ DATABASE_URL }).ended;
  expect(stderr).toMatch(/^daily-aggregator: cannot connect to the database \(DATABASE_URL\): .+\n$/);
  expect(stderr).not.toContain("secret");
  expect(code).toBe(1);
});

test("every command fails with the reason if DATABASE_URL lacks the password that the database needs", async () => {
  const dataDir = await makeDataDir(template.path);
  const server = await startEmbeddedServer({ dataDir, log: createLog("silent") });
  onTestFinished(() => server.stop());
  const { href } = Object.assign(new URL(server.url), { password: "" });
  const hint = "the database needs a password: put it into DATABASE_URL or PGPASSWORD\n";
  await expect(runEach(href)).resolves.toEqual({
    start: { code: 1, stderr: `daily-aggregator: cannot connect to the database (DATABASE_URL): ${hint}` },
    migrate: { code: 1, stderr: `migrate: ${hint}` },
    verify: { code: 2, stderr: `verify: ${hint}` },
  });
});

test("every command times out if the server of DATABASE_URL accepts the connection and never responds", async () => {
  const port = await listen((socket) => socket.resume());
  await expect(runEach(`postgres://user:secret@127.0.0.1:${port}/database`)).resolves.toMatchObject({
    start: { code: 1, stderr: expect.stringMatching(/^daily-aggregator: cannot connect .*timeout.*\n$/) },
    migrate: { code: 1, stderr: expect.stringMatching(/^migrate: .*timeout.*\n$/) },
    verify: { code: 2, stderr: expect.stringMatching(/^verify: .*timeout.*\n$/) },
  });
});

test("every command fails with the reason if DATABASE_URL requires TLS and the server has none", async () => {
  const dataDir = await makeDataDir(template.path);
  const server = await startEmbeddedServer({ dataDir, log: createLog("silent") });
  onTestFinished(() => server.stop());
  const reason = /^[a-z-]+: .*The server does not support SSL connections\n$/;
  await expect(runEach(`${server.url}?sslmode=verify-full`)).resolves.toMatchObject({
    start: { code: 1, stderr: expect.stringMatching(reason) },
    migrate: { code: 1, stderr: expect.stringMatching(reason) },
    verify: { code: 2, stderr: expect.stringMatching(reason) },
  });
});

test("the service accepts libpq's form of DATABASE_URL for a socket, with a user and without a host", async () => {
  const dataDir = await makeDataDir(template.path);
  const settings = { unix_socket_directories: dataDir };
  const server = await startEmbeddedServer({ dataDir, settings, log: createLog("silent") });
  onTestFinished(() => server.stop());
  const { username, password, port } = new URL(server.url);
  const DATABASE_URL = `postgres://${username}:${password}@/postgres?host=${dataDir}&port=${port}`;
  const service = launchServiceProcess({ DATABASE_URL });
  await expect(fetch(`${await service.listening}/readyz`)).resolves.toMatchObject({ status: 200 });
  await expect(service.kill("SIGTERM")).resolves.toMatchObject({ code: 0 });
});

test("a PORT that is in use prevents the start with a one-line error", async () => {
  const port = await listen(() => {});
  const DATA_DIR = await makeDataDir(template.path);
  const { code, stderr } = await launchServiceProcess({ DATA_DIR, PORT: String(port) }).ended;
  expect(stderr).toBe(
    `daily-aggregator: cannot listen on HOST 127.0.0.1, PORT ${port}: listen EADDRINUSE: address already in use 127.0.0.1:${port}\n`,
  );
  expect(code).toBe(1);
});

test("a HOST that is not an address of this machine prevents the start with a one-line error", async () => {
  const DATA_DIR = await makeDataDir(template.path);
  const { code, stderr } = await launchServiceProcess({ DATA_DIR, HOST: "192.0.2.1" }).ended;
  expect(stderr).toMatch(/^daily-aggregator: cannot listen on HOST 192\.0\.2\.1, PORT 0: .+\n$/);
  expect(code).toBe(1);
});

/** The exit code and error output of the service, `npm run migrate` and `npm run verify` for a database. */
async function runEach(DATABASE_URL: string) {
  const run = async (script: string) => {
    const { code, stderr } = await runCommand(script, [], { env: { DATABASE_URL } });
    return { code, stderr };
  };
  const start = async () => {
    const { code, stderr } = await launchServiceProcess({ DATABASE_URL }).ended;
    return { code, stderr };
  };
  const [started, migrated, verified] = await Promise.all([
    start(),
    run("src/commands/migrate.ts"),
    run("src/commands/verify.ts"),
  ]);
  return { start: started, migrate: migrated, verify: verified };
}

/** Starts a server. It is closed when the test finishes. @returns its port */
async function listen(onConnection: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    onConnection(socket);
  });
  const port = await listenOnFreePort(server);
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return port;
}
