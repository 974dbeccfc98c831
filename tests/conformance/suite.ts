import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

const goModule = "connectrpc.com/conformance";
const goBin = process.env.GOBIN ?? path.join(process.env.GOPATH ?? path.join(homedir(), "go"), "bin");

export const howToGetSuite = `The conformance suite is not installed. With Go, this installs its runner in ${goBin}:

    go install ${goModule}/cmd/connectconformance@v1.0.7

A runner in the PATH is found, too, and CONFORMANCE_RUNNER can name one. Go also downloads the suite's proto files.`;

/** The installed suite. */
export interface Suite {
  readonly version: string;
  /** The program that makes the calls. */
  readonly runner: string;
  /** The folder of its proto files. */
  readonly protoFolder: string;
}

/** @returns undefined if it is not installed */
export async function findSuite(): Promise<Suite | undefined> {
  const runner = await findRunner();
  if (runner === undefined) return undefined;
  const [, version = ""] = (await execute(runner, ["--version"])).stdout.trim().split(" ");
  const downloaded = await execute("go", ["mod", "download", "-json", `${goModule}@${version}`]).catch(
    () => undefined,
  );
  if (downloaded === undefined) return undefined;
  return { version, runner, protoFolder: path.join(JSON.parse(downloaded.stdout).Dir, "proto") };
}

async function findRunner(): Promise<string | undefined> {
  const named = process.env.CONFORMANCE_RUNNER;
  if (named) return named;
  for (const folder of [...(process.env.PATH ?? "").split(path.delimiter), goBin]) {
    const file = path.join(folder, "connectconformance");
    const isThere = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return undefined;
}

/** Writes the descriptors of the suite's messages and service, which the server needs, to a file. */
export async function writeSchema({ protoFolder }: Suite, file: string): Promise<void> {
  await execute("buf", ["build", protoFolder, "--as-file-descriptor-set", "--output", file]);
}
