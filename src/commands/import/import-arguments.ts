import { stat } from "node:fs/promises";
import { parseCommandLine, UsageError } from "../command.ts";

export const usage = `usage: npm run import -- FILE [--url http://127.0.0.1:8080] [--timeout 60]
FILE is CSV, plain or gzip, with the columns request_id, user_id, word_count and timestamp; - reads standard input.
--url is the address of the service, --timeout the longest time without an acknowledgement, in seconds.
Exit codes: 0 if every row is recorded, now or by an earlier import; 1 if a row was rejected; 2 if the import
could not be completed.`;

export interface ImportArguments {
  readonly file: string;
  /** In bytes; 0 if it is unknown. */
  readonly size: number;
  readonly url: string;
  readonly timeoutMs: number;
}

/**
 * @param args the arguments after the name of the command
 * @throws UsageError if an option is unknown, or there is not exactly one file
 * @throws Error if the value of an option is invalid, or the file is missing or a folder
 */
export async function readArguments(args: readonly string[]): Promise<ImportArguments | "help"> {
  const { positionals, values } = parseCommandLine(usage, {
    args: [...args],
    allowPositionals: true,
    options: {
      url: { type: "string", default: "http://127.0.0.1:8080" },
      timeout: { type: "string", default: "60" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return "help";
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0) throw new UsageError(usage);
  return {
    file,
    size: file === "-" ? 0 : await sizeOf(file),
    url: urlOf(values.url),
    timeoutMs: secondsOf(values.timeout) * 1000,
  };
}

async function sizeOf(file: string): Promise<number> {
  const stats = await stat(file);
  if (stats.isDirectory()) throw new Error(`${file} is a folder, not a file`);
  return stats.size;
}

function urlOf(text: string): string {
  const url = URL.parse(text);
  if (!url || !["http:", "https:"].includes(url.protocol)) {
    throw new Error(`--url must be a URL such as http://127.0.0.1:8080, not ${text}`);
  }
  return text;
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (!/^\d+$/.test(text) || seconds < 1 || seconds > 86_400) {
    throw new Error(`--timeout must be a whole number of seconds from 1 to 86400, not ${text}`);
  }
  return seconds;
}
