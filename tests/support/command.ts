import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";

/** How a command ended. */
export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface CommandOptions {
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** All of its standard input; left out, that is open, and nothing ever comes. */
  readonly input?: string | Buffer;
}

/** Runs one of the project's commands, such as `src/commands/import.ts`, in a process of its own. */
export async function runCommand(
  script: string,
  args: readonly string[],
  { env, input }: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env } });
  // The command may end without having read everything.
  child.stdin.on("error", () => {});
  if (input !== undefined) child.stdin.end(input);
  const ended = new Promise<number | null>((resolve, reject) =>
    child.once("error", reject).once("exit", resolve),
  );
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}
