import pino from "pino";
import { expect, test } from "vitest";
import { warnOfDifferentTimeZoneRules } from "../../src/database/compare-time-zone-rules.ts";
import { execute } from "../support/connection.ts";
import { createEmptyDatabase } from "../support/test-database.ts";

test("if the database has other time zone rules, a warning in the log names the zones that differ", async () => {
  const url = await createEmptyDatabase();
  // The test cannot change the server's rules, but a missing zone counts as a difference, too.
  await execute(
    url,
    `CREATE SCHEMA other;
    CREATE VIEW other.pg_timezone_names AS
      SELECT name FROM pg_catalog.pg_timezone_names WHERE name <> 'Africa/Algiers'`,
  );
  const { promise: line, resolve: write } = Promise.withResolvers<string>();
  warnOfDifferentTimeZoneRules(
    `${url}?options=-c%20search_path=other,pg_catalog`,
    pino({ level: "warn" }, { write }),
  );
  expect(JSON.parse(await line)).toMatchObject({
    level: 40,
    zones: expect.arrayContaining(["Africa/Algiers"]),
    release: process.versions.tz,
    msg: expect.stringContaining("see docs/summaries.md"),
  });
});
