import { execFile } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readdir, realpath, rmdir, stat, symlink } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { StartupError } from "../../errors/startup-error.ts";
import type { Log } from "../../telemetry/log.ts";
import { type Account, unprivilegedAccount } from "./unprivileged-account.ts";

const run = promisify(execFile);

/** What this service keeps outside of the user's folders when it runs as root: every account can enter it. */
export const systemFolder = "/var/lib/daily-aggregator";

/** Where the embedded server keeps its data, and whom it runs as. */
export interface DataFolder {
  readonly path: string;
  readonly account: Account;
}

/**
 * Makes DATA_DIR if it is not there, and finds the account that the server runs under: for root, the folder's owner or
 * `postgres`. If that account cannot reach the folder, the data are kept in {@link systemFolder}, and DATA_DIR becomes a
 * link to them, so no folder of the user's is opened to others.
 *
 * @throws StartupError that says what is wrong
 */
export async function prepareDataFolder(dataDir: string, log: Log): Promise<DataFolder> {
  const folder = path.resolve(dataDir);
  // PostgreSQL writes the path into a file of lines.
  if (/[\r\n]/.test(folder)) {
    throw new StartupError(`DATA_DIR ${JSON.stringify(folder)} has a line break in its path`);
  }
  try {
    return await prepare(folder, log);
  } catch (error) {
    if (error instanceof StartupError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartupError(`cannot write DATA_DIR ${folder}: ${reason}`);
  }
}

async function prepare(folder: string, log: Log): Promise<DataFolder> {
  await makeFolder(folder);
  if (process.getuid?.() !== 0) return { path: folder, account: {} };
  const owner = await stat(folder);
  const account = owner.uid === 0 ? await unprivilegedAccount(log) : { uid: owner.uid, gid: owner.gid };
  if (!(await canEnter(account, path.dirname(await realpath(folder))))) await moveOut(folder, account, log);
  const reachable = await realpath(folder);
  await giveTo(account, reachable);
  return { path: reachable, account };
}

/**
 * Step by step: Node's own recursive mkdir never ends where a folder cannot be made and the error is that it is missing,
 * such as in /proc.
 */
async function makeFolder(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let place = folder; !(await isThere(place)); place = path.dirname(place)) missing.unshift(place);
  for (const place of missing) {
    await mkdir(place, { mode: place === folder ? 0o700 : 0o777 }).catch(ignore("EEXIST"));
  }
  if (!(await stat(folder)).isDirectory()) throw new Error("it is not a folder");
}

async function isThere(place: string): Promise<boolean> {
  const found = await stat(place).catch(ignore("ENOENT"));
  return found !== undefined;
}

/** Tries it, because modes are not all that decides. */
async function canEnter({ uid, gid }: Account, folder: string): Promise<boolean> {
  if (uid === undefined || gid === undefined) return true;
  return run("/bin/sh", ["-c", 'cd -- "$1"', "sh", folder], { uid, gid, cwd: "/", timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}

async function moveOut(folder: string, account: Account, log: Log): Promise<void> {
  const found = await readdir(folder);
  if (found.length > 0) {
    throw new StartupError(
      `the account that PostgreSQL runs as cannot reach DATA_DIR ${folder}, which has data already: move it to a folder that every account can enter`,
    );
  }
  await mkdir(systemFolder, { recursive: true });
  await chmod(systemFolder, 0o755);
  const moved = await mkdtemp(path.join(systemFolder, "data-"));
  await giveTo(account, moved);
  try {
    await rmdir(folder);
    await symlink(moved, folder);
    log.info(
      { folder: moved },
      `PostgreSQL keeps the data of DATA_DIR ${folder} in ${moved}, because it refuses to run as root and no other account can enter the folder`,
    );
  } catch (error) {
    await rmdir(moved);
    // Of processes that start together, one makes the link.
    if ((await realpath(folder)) === folder) throw error;
  }
}

async function giveTo({ uid, gid }: Account, folder: string): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(folder, uid, gid);
}

/** For `catch`: the one error of the system that does not matter. */
function ignore(code: string): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (error.code !== code) throw error;
  };
}
