import { execFile } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readdir, realpath, rmdir, stat, symlink } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { StartupError } from "../../errors/startup-error.ts";
import type { Log } from "../../telemetry/log.ts";
import { type Account, unprivilegedAccount } from "./unprivileged-account.ts";

const run = promisify(execFile);

/** Where the service keeps files outside the user's folders if it runs as root. Every account can enter this folder. */
export const systemFolder = "/var/lib/daily-aggregator";

/** The folder of the embedded server's data, and the account that the server runs as. */
export interface DataFolder {
  readonly path: string;
  readonly account: Account;
}

/**
 * Creates DATA_DIR if it is missing, and selects the account that the server runs as. If this process runs as root,
 * that is the folder's owner, or `postgres` if root owns the folder. If that account cannot enter the parent folder,
 * the data is stored in {@link systemFolder} and DATA_DIR becomes a symbolic link to it. No folder of the user is
 * opened to other accounts.
 *
 * @throws StartupError if the folder cannot be created, written or reached, its path has a line break, or there is no
 * account that can run the server
 */
export async function prepareDataFolder(dataDir: string, log: Log): Promise<DataFolder> {
  const folder = path.resolve(dataDir);
  // PostgreSQL writes the path into postmaster.pid, which has one value per line.
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
 * Creates one level at a time, because Node's recursive mkdir loops endlessly where a folder cannot be created and the
 * error is ENOENT, such as in /proc.
 */
async function makeFolder(folder: string): Promise<void> {
  const missing: string[] = [];
  for (let place = folder; !(await exists(place)); place = path.dirname(place)) missing.unshift(place);
  for (const place of missing) {
    await mkdir(place, { mode: place === folder ? 0o700 : 0o777 }).catch(ignore("EEXIST"));
  }
  if (!(await stat(folder)).isDirectory()) throw new Error("it is not a folder");
}

async function exists(place: string): Promise<boolean> {
  const found = await stat(place).catch(ignore("ENOENT"));
  return found !== undefined;
}

/** Tries to enter the folder as the account, because the file mode alone does not decide this. */
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
      `storing the data of DATA_DIR ${folder} in ${moved}, because PostgreSQL refuses to run as root and its account cannot reach DATA_DIR`,
    );
  } catch (error) {
    await rmdir(moved);
    // If several processes start together, one creates the link and the others use it.
    if ((await realpath(folder)) === folder) throw error;
  }
}

async function giveTo({ uid, gid }: Account, folder: string): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(folder, uid, gid);
}

/** Returns a handler for `catch` that ignores one system error code and throws all other errors again. */
function ignore(code: string): (error: NodeJS.ErrnoException) => undefined {
  return (error) => {
    if (error.code !== code) throw error;
  };
}
