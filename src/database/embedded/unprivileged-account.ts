import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { StartupError } from "../../errors/startup-error.ts";
import type { Log } from "../../telemetry/log.ts";

const run = promisify(execFile);

/** Accounts may be looked up in a directory on another machine. */
const timeout = 20_000;

/** Whom a child process runs as; empty for the user of this process. */
export interface Account {
  readonly uid?: number;
  readonly gid?: number;
}

/** The `postgres` account, made if there is none: PostgreSQL refuses to run as root. */
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
    "PostgreSQL refuses to run as root and no account postgres could be added: start as another user, or set DATABASE_URL",
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
