import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { onTestFinished, vi } from "vitest";
import { execute } from "../support/connection.ts";
import { freePort } from "../support/free-port.ts";

const program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"].find(existsSync);

/** Whether this machine has PgBouncer. */
export const hasPgBouncer = program !== undefined;

/**
 * Starts PgBouncer in front of a database, until the test finishes.
 *
 * @param mode when PgBouncer may give a client's connection to the database to another client
 * @returns the URL of the database through PgBouncer
 */
export async function startPgBouncer(databaseUrl: string, mode: "session" | "transaction"): Promise<string> {
  if (program === undefined) throw new Error("PgBouncer is not installed");
  const folder = await mkdtemp(path.join(tmpdir(), "daily-aggregator-pgbouncer-"));
  await chmod(folder, 0o755);
  const database = new URL(databaseUrl);
  const password = decodeURIComponent(database.password);
  const port = await freePort();
  const settings = path.join(folder, "pgbouncer.ini");
  await writeFile(
    settings,
    `[databases]
* = host=${database.hostname} port=${database.port} user=${database.username}${password && ` password=${password}`}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
ignore_startup_parameters = extra_float_digits,options
`,
  );
  // PgBouncer refuses to run as root.
  const account = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const bouncer = spawn(program, [...account, "-q", settings], { stdio: "ignore" });
  const ended = new Promise((resolve) => bouncer.once("exit", resolve));
  onTestFinished(async () => {
    bouncer.kill();
    await ended;
    await rm(folder, { recursive: true });
  });
  const url = new URL(databaseUrl);
  url.hostname = "127.0.0.1";
  url.port = String(port);
  await vi.waitFor(() => execute(url.href, "SELECT"), { timeout: 20_000, interval: 20 });
  return url.href;
}
