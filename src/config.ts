import { parse as parseConnectionString } from "pg-connection-string";
import { z } from "zod";
import type { PoolSizes } from "./database/pools.ts";
import type { EntryWriterLimits } from "./entries/entry-writer.ts";
import { StartupError } from "./errors/startup-error.ts";
import { type LogLevel, logLevels } from "./telemetry/log.ts";
import type { UnaryPath } from "./transport/request-listeners.ts";

/** Everything that an operator can set. docs/configuration.md describes each variable. */
export interface Config {
  /** The address to listen on: a host name or an IP address. */
  readonly host: string;
  /** The port to listen on; 0 takes any free one. */
  readonly port: number;
  /** How long a connection without an open call is kept, in milliseconds. */
  readonly idleTimeoutMs: number;
  /** The URL of PostgreSQL; undefined starts the embedded server. */
  readonly databaseUrl: string | undefined;
  /** The folder of the embedded server's data. */
  readonly dataDir: string;
  /** The maximum numbers of connections to the database, for reads and for batches. */
  readonly databasePools: PoolSizes;
  /** The maximum numbers of concurrent statements, of single entries in a statement, and of pending entries. */
  readonly writing: EntryWriterLimits;
  /** How many entries are kept in memory, to answer retries without the database. */
  readonly recentEntries: number;
  /** How much memory memoized summaries may use, in bytes. */
  readonly summaryCacheBytes: number;
  /** Whether pending migrations run before the service listens. */
  readonly migrateOnStart: boolean;
  /** The origins whose web pages may call the service; `*` stands for any origin. */
  readonly corsOrigins: readonly string[];
  /** Which implementation serves unary calls. */
  readonly unaryPath: UnaryPath;
  readonly logLevel: LogLevel;
}

export const unaryPaths = ["lean", "connect-node"] as const satisfies UnaryPath[];

const environment = z.object({
  HOST: z.string().default("127.0.0.1"),
  PORT: wholeNumber(0, 65_535).default(8080),
  IDLE_TIMEOUT_SECONDS: wholeNumber(1, 86_400).default(620),
  DATABASE_URL: z
    .string()
    .refine(isPostgresUrl, "must be a URL such as postgres://user:password@host:5432/database")
    .optional(),
  DATA_DIR: z.string().default(".data"),
  DATABASE_READ_CONNECTIONS: wholeNumber(2, 1000).default(8),
  DATABASE_WRITE_CONNECTIONS: wholeNumber(1, 1000).default(8),
  WRITE_STATEMENTS: wholeNumber(1, 100).default(2),
  WRITE_STATEMENT_ROWS: wholeNumber(1, 10_000).default(500),
  WRITE_PENDING_ROWS: wholeNumber(1, 10_000_000).default(100_000),
  RECENT_ENTRIES: wholeNumber(0, 10_000_000).default(50_000),
  SUMMARY_CACHE_BYTES: wholeNumber(1, 1_000_000_000_000).default(64 * 1024 * 1024),
  MIGRATE_ON_START: z
    .enum(["true", "false"], "must be true or false")
    .default("true")
    .transform((value) => value === "true"),
  CORS_ORIGINS: z
    .string()
    .default("")
    .transform((list) => list.split(",").flatMap((origin) => origin.trim() || []))
    .superRefine((origins, context) => {
      const wrong = origins.find((origin) => !isOrigin(origin));
      if (wrong !== undefined) context.addIssue({ code: "custom", message: notAnOrigin(wrong) });
    }),
  UNARY_PATH: z.enum(unaryPaths, `must be one of ${unaryPaths.join(", ")}`).default("lean"),
  LOG_LEVEL: z.enum(logLevels, `must be one of ${logLevels.join(", ")}`).default("info"),
});

/**
 * Reads the configuration from environment variables. An empty variable counts as not set.
 *
 * @throws StartupError that names the first invalid variable and the values that it accepts
 */
export function readConfig(variables: NodeJS.ProcessEnv): Config {
  const set = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ""));
  const { data, error } = environment.safeParse(set);
  if (error) {
    const [issue] = error.issues;
    throw new StartupError(`${issue?.path[0]?.toString()} ${issue?.message}`);
  }
  return {
    host: data.HOST,
    port: data.PORT,
    idleTimeoutMs: data.IDLE_TIMEOUT_SECONDS * 1000,
    databaseUrl: data.DATABASE_URL,
    dataDir: data.DATA_DIR,
    databasePools: { reads: data.DATABASE_READ_CONNECTIONS, writes: data.DATABASE_WRITE_CONNECTIONS },
    writing: {
      maxStatements: data.WRITE_STATEMENTS,
      maxStatementRows: data.WRITE_STATEMENT_ROWS,
      maxPendingRows: data.WRITE_PENDING_ROWS,
    },
    recentEntries: data.RECENT_ENTRIES,
    summaryCacheBytes: data.SUMMARY_CACHE_BYTES,
    migrateOnStart: data.MIGRATE_ON_START,
    corsOrigins: data.CORS_ORIGINS,
    unaryPath: data.UNARY_PATH,
    logLevel: data.LOG_LEVEL,
  };
}

function wholeNumber(min: number, max: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d+$/, message)
    .transform(Number)
    .pipe(z.number(message).min(min, message).max(max, message));
}

/**
 * Whether node-postgres can parse the URL. It accepts more than `URL` does, such as
 * `postgres://user:password@/db?host=/tmp`.
 */
function isPostgresUrl(value: string): boolean {
  if (!/^postgres(ql)?:\/\//i.test(value)) return false;
  try {
    parseConnectionString(value);
    return true;
  } catch (error) {
    // A certificate file that cannot be read does not make the URL invalid. Connecting then reports the file.
    return error instanceof Error && "syscall" in error;
  }
}

function isOrigin(value: string): boolean {
  return value === "*" || URL.parse(value)?.origin === value;
}

/**
 * The error message for an invalid origin. An origin must be written exactly as browsers send it: in lower case and
 * without a path.
 */
function notAnOrigin(value: string): string {
  const message = "must be origins such as https://app.example.com, separated by commas, or *";
  const url = URL.parse(value);
  const isWeb = url?.protocol === "http:" || url?.protocol === "https:";
  return isWeb ? `${message}: write ${url.origin}, not ${value}` : message;
}
