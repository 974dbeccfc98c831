import { spawn } from "node:child_process";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { installPackage, olderVersions } from "../support/older-postgres.ts";

// `npm run test:postgres` runs the tests on each older version of PostgreSQL that the service supports. `-- 15 17`
// selects versions, and `-- --download 15` only downloads them. `npm test` uses version 18.

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { download: { type: "boolean", default: false } },
});
const versions = positionals.length > 0 ? positionals : olderVersions;

for (const version of versions) {
  await installPackage(version);
  if (values.download) continue;
  process.stdout.write(`== PostgreSQL ${version}\n`);
  const env = { ...process.env, TEST_POSTGRES_VERSION: version };
  const [code] = await once(spawn("vitest", ["run"], { env, stdio: "inherit" }), "exit");
  if (code !== 0) process.exitCode = 1;
}
