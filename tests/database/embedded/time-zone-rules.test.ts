import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";
import packageJson from "../../../package.json" with { type: "json" };
import {
  bundledRules,
  newestRelease,
  renewTimeZoneRules,
} from "../../../src/database/embedded/time-zone-rules.ts";
import { removeFolder } from "../../support/remove-folder.ts";

const berlin = "Europe/Berlin";

test("the embedded server gets the system's time zone rules if they are newer than Node's", async () => {
  const zones = await makeZones({ [berlin]: "TZif of PostgreSQL", "Asia/Tokyo": "TZif of PostgreSQL" });
  const system = await makeZones({
    "tzdata.zi": "# version 2099c\nR d 1916\n",
    [berlin]: "TZif of the system",
  });
  await expect(newestRelease(system)).resolves.toBe("2099c");
  await renewTimeZoneRules(zones, system);
  await expect(read(zones, berlin)).resolves.toBe("TZif of the system");
  // The system lacks this zone, so Node's rules are used.
  await expect(read(zones, "Asia/Tokyo")).resolves.toMatch(/\n<\+09>-9\n$/);
});

test.for([
  ["older", { "tzdata.zi": "# version 2025b\n", [berlin]: "TZif of the system" }],
  ["of unknown age", { [berlin]: "TZif of the system" }],
  ["missing", {}],
] as const)(
  "the embedded server gets Node's time zone rules if those of the system are %s",
  async ([, files]) => {
    const zones = await makeZones({ [berlin]: "TZif of PostgreSQL" });
    const system = await makeZones(files);
    await expect(newestRelease(system)).resolves.toBe(process.versions.tz);
    await renewTimeZoneRules(zones, system);
    await expect(read(zones, berlin)).resolves.toMatch(/\n<\+01>-1<\+02>-2,M3\.5\.0\/2,M10\.5\.0\/3\n$/);
  },
);

test("the embedded server gets a time zone that only Node knows", async () => {
  const zones = await makeZones({});
  await renewTimeZoneRules(zones, await makeZones({}));
  await expect(read(zones, "America/Argentina/Ushuaia")).resolves.toMatch(/^TZif2/);
});

test("the release of the bundled time zone rules is that of the pinned version of PostgreSQL", () => {
  const versions = new Set(Object.values(packageJson.optionalDependencies));
  // Another version may have another release: look it up in src/timezone of PostgreSQL's source, and set both.
  expect(versions).toEqual(new Set([bundledRules.version]));
});

/** Creates a folder with these files. It is removed when the test finishes. @returns its path */
async function makeZones(files: Readonly<Record<string, string>>): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "daily-aggregator-test-"));
  onTestFinished(() => removeFolder(folder));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
  return folder;
}

async function read(folder: string, name: string): Promise<string> {
  return readFile(path.join(folder, name), "latin1");
}
