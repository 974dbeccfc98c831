import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { StartupError } from "../../errors/startup-error.ts";
import type { Log } from "../../telemetry/log.ts";

const run = promisify(execFile);

/** In milliseconds: looking up an account may query a directory server on another machine. */
const timeout = 20_000;

/** The account that a child process runs as. If it is empty, the child runs as the user of this process. */
export interface Account {
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Returns the account `postgres`, and adds it if it is missing. PostgreSQL needs an account that is not root's, because
 * it refuses to run as root.
 *
 * @throws StartupError if the account cannot be added
 */
export async function unprivilegedAccount(log: Log): Promise<Account> {
  const existing = await findAccount();
  if (existing) return existing;
  log.info("adding the system account postgres, because PostgreSQL refuses to run as root");
  await run("useradd", ["--system", "--user-group", "--no-create-home", "postgres"], { timeout }).catch(
    () => {},
  );
  const added = await findAccount();
  if (added) return added;
  throw new StartupError(
    "PostgreSQL refuses to run as root, and the account postgres could not be added: start as another user, or set DATABASE_URL",
  );
}

async function findAccount(): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all([
      run("id", ["-u", "postgres"], { timeout }),
      run("id", ["-g", "postgres"], { timeout }),
    ]);
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}
