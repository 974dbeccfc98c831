import { expect, test } from "vitest";
import { readConfig } from "../src/config.ts";
import { StartupError } from "../src/errors/startup-error.ts";

const defaults = {
  host: "127.0.0.1",
  port: 8080,
  // Longer than proxies keep idle connections: at most 600 seconds.
  idleTimeoutMs: 620_000,
  databaseUrl: undefined,
  dataDir: ".data",
  databasePools: { reads: 8, writes: 8 },
  writing: { maxStatements: 2, maxStatementRows: 500, maxPendingRows: 100_000 },
  recentEntries: 50_000,
  summaryCacheBytes: 67_108_864,
  migrateOnStart: true,
  corsOrigins: [],
  unaryPath: "lean",
  logLevel: "info",
};

test("without settings, the service listens on loopback and uses the embedded PostgreSQL", () => {
  expect(readConfig({})).toEqual(defaults);
});

test("an empty variable counts as not set", () => {
  const variables = [
    "HOST",
    "PORT",
    "IDLE_TIMEOUT_SECONDS",
    "DATABASE_URL",
    "DATA_DIR",
    "DATABASE_READ_CONNECTIONS",
    "DATABASE_WRITE_CONNECTIONS",
    "WRITE_STATEMENTS",
    "WRITE_STATEMENT_ROWS",
    "WRITE_PENDING_ROWS",
    "RECENT_ENTRIES",
    "SUMMARY_CACHE_BYTES",
    "MIGRATE_ON_START",
    "CORS_ORIGINS",
    "UNARY_PATH",
    "LOG_LEVEL",
  ];
  expect(readConfig(Object.fromEntries(variables.map((name) => [name, ""])))).toEqual(defaults);
});

test("variables of other programs are ignored", () => {
  expect(readConfig({ PATH: "/bin", PGHOST: "db", NODE_ENV: "production" })).toEqual(defaults);
});

test.for([
  [{ HOST: "0.0.0.0" }, { host: "0.0.0.0" }],
  [{ HOST: "::1" }, { host: "::1" }],
  [{ PORT: "0" }, { port: 0 }],
  [{ PORT: "65535" }, { port: 65_535 }],
  [{ IDLE_TIMEOUT_SECONDS: "1" }, { idleTimeoutMs: 1000 }],
  [{ DATABASE_URL: "postgres://u:p@db:5432/learning" }, { databaseUrl: "postgres://u:p@db:5432/learning" }],
  [{ DATABASE_URL: "postgresql://db/learning" }, { databaseUrl: "postgresql://db/learning" }],
  [
    { DATABASE_URL: "postgres://u:p@/learning?host=/run/postgresql" },
    { databaseUrl: "postgres://u:p@/learning?host=/run/postgresql" },
  ],
  [{ DATA_DIR: "/var/lib/daily" }, { dataDir: "/var/lib/daily" }],
  [{ DATABASE_READ_CONNECTIONS: "2" }, { databasePools: { reads: 2, writes: 8 } }],
  [{ DATABASE_WRITE_CONNECTIONS: "1000" }, { databasePools: { reads: 8, writes: 1000 } }],
  [
    { WRITE_STATEMENTS: "4", WRITE_STATEMENT_ROWS: "1", WRITE_PENDING_ROWS: "10" },
    { writing: { maxStatements: 4, maxStatementRows: 1, maxPendingRows: 10 } },
  ],
  [{ RECENT_ENTRIES: "0" }, { recentEntries: 0 }],
  [{ SUMMARY_CACHE_BYTES: "1" }, { summaryCacheBytes: 1 }],
  [{ MIGRATE_ON_START: "false" }, { migrateOnStart: false }],
  [{ MIGRATE_ON_START: "true" }, { migrateOnStart: true }],
  [{ CORS_ORIGINS: "*" }, { corsOrigins: ["*"] }],
  [
    { CORS_ORIGINS: "https://app.example.com, http://localhost:5173 ," },
    { corsOrigins: ["https://app.example.com", "http://localhost:5173"] },
  ],
  [{ UNARY_PATH: "lean" }, { unaryPath: "lean" }],
  [{ UNARY_PATH: "connect-node" }, { unaryPath: "connect-node" }],
  [{ LOG_LEVEL: "debug" }, { logLevel: "debug" }],
  [{ LOG_LEVEL: "silent" }, { logLevel: "silent" }],
] as const)("%j is accepted", ([variables, expected]) => {
  expect(readConfig(variables)).toEqual({ ...defaults, ...expected });
});

const aUrl = "DATABASE_URL must be a URL such as postgres://user:password@host:5432/database";
const aPort = "PORT must be a whole number from 0 to 65535";
const aSize = "DATABASE_READ_CONNECTIONS must be a whole number from 2 to 1000";
const anOrigin = "CORS_ORIGINS must be origins such as https://app.example.com, separated by commas, or *";
const aLevel = "LOG_LEVEL must be one of trace, debug, info, warn, error, fatal, silent";

test.for([
  [{ PORT: "abc" }, aPort],
  [{ PORT: "65536" }, aPort],
  [{ PORT: "-1" }, aPort],
  [{ PORT: "80.5" }, aPort],
  [{ PORT: "0x50" }, aPort],
  [{ PORT: " 80" }, aPort],
  [{ PORT: "9".repeat(400) }, aPort],
  [{ IDLE_TIMEOUT_SECONDS: "0" }, "IDLE_TIMEOUT_SECONDS must be a whole number from 1 to 86400"],
  [{ DATABASE_URL: "localhost" }, aUrl],
  [{ DATABASE_URL: "mysql://u:secret@db/x" }, aUrl],
  [{ DATABASE_URL: "postgres://u:sec#ret@db/x" }, aUrl],
  [{ DATABASE_URL: "postgres://u:secret@db:x/x" }, aUrl],
  [{ DATABASE_READ_CONNECTIONS: "1" }, aSize],
  [{ DATABASE_READ_CONNECTIONS: "1001" }, aSize],
  [{ WRITE_STATEMENTS: "0" }, "WRITE_STATEMENTS must be a whole number from 1 to 100"],
  [{ WRITE_STATEMENT_ROWS: "many" }, "WRITE_STATEMENT_ROWS must be a whole number from 1 to 10000"],
  [{ WRITE_PENDING_ROWS: "1e6" }, "WRITE_PENDING_ROWS must be a whole number from 1 to 10000000"],
  [{ RECENT_ENTRIES: "-1" }, "RECENT_ENTRIES must be a whole number from 0 to 10000000"],
  [{ MIGRATE_ON_START: "maybe" }, "MIGRATE_ON_START must be true or false"],
  [{ MIGRATE_ON_START: "1" }, "MIGRATE_ON_START must be true or false"],
  [{ CORS_ORIGINS: "nonsense" }, anOrigin],
  [
    { CORS_ORIGINS: "http://localhost:5173/" },
    `${anOrigin}: write http://localhost:5173, not http://localhost:5173/`,
  ],
  [
    { CORS_ORIGINS: "*,https://app.example.com/page" },
    `${anOrigin}: write https://app.example.com, not https://app.example.com/page`,
  ],
  [
    { CORS_ORIGINS: "HTTPS://App.example.com" },
    `${anOrigin}: write https://app.example.com, not HTTPS://App.example.com`,
  ],
  [
    { CORS_ORIGINS: "https://app.example.com:443" },
    `${anOrigin}: write https://app.example.com, not https://app.example.com:443`,
  ],
  [{ CORS_ORIGINS: "localhost:5173" }, anOrigin],
  [{ CORS_ORIGINS: "https://a.example.com https://b.example.com" }, anOrigin],
  [{ CORS_ORIGINS: "null" }, anOrigin],
  [{ CORS_ORIGINS: "file://" }, anOrigin],
  [{ UNARY_PATH: "fast" }, "UNARY_PATH must be one of lean, connect-node"],
  [{ LOG_LEVEL: "loud" }, aLevel],
  [{ LOG_LEVEL: "INFO" }, aLevel],
])("%j is rejected with an error that describes the valid values", ([variables, message]) => {
  expect(() => readConfig(variables as NodeJS.ProcessEnv)).toThrow(new StartupError(message as string));
});
