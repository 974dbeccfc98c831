import { randomUUID } from "node:crypto";
import { beforeAll, expect, test } from "vitest";
import { aggregatesOf, checkAggregatesAfterAll } from "../support/aggregates.ts";
import { grpcClient } from "../support/clients.ts";
import { useTestDatabase } from "../support/test-database.ts";
import { startOwnService } from "../support/test-service.ts";

// The database's settings and this process's time zone change how times are formatted and parsed as text.

const database = useTestDatabase();
checkAggregatesAfterAll(database);

beforeAll(async () => {
  const name = new URL(database.url).pathname.slice(1);
  await database.pool.query(`ALTER DATABASE ${name} SET datestyle = 'German, DMY'`);
  await database.pool.query(`ALTER DATABASE ${name} SET timezone = 'Africa/Monrovia'`);
  await database.pool.query(`ALTER DATABASE ${name} SET intervalstyle = 'sql_standard'`);
  process.env.TZ = "Africa/Monrovia";
});

test.for(["1971-06-01T00:10:00Z", "2024-02-03T04:05:06Z", "1970-01-01T00:00:00Z"])(
  "an entry of %s is deleted with its aggregate, even with unusual date and time settings",
  async (time) => {
    const { url } = await startOwnService(database.url);
    const client = grpcClient(url);
    const userId = randomUUID();
    const timestamp = { seconds: BigInt(Date.parse(time) / 1000) };
    const entries = [1, 2].map(() => ({ requestId: randomUUID(), userId, wordCount: 1, timestamp }));
    for (const entry of entries) await client.createEntry(entry);
    for (const [index, { requestId }] of entries.entries()) {
      await client.deleteEntry({ requestId });
      expect(await aggregatesOf(database.pool, userId)).toMatchObject({
        rows: 1 - index,
        entries: 1 - index,
      });
    }
    await client.batchCreateEntries({ entries });
    expect(await client.deleteUserEntries({ userId })).toMatchObject({ deletedCount: 2n });
    expect(await aggregatesOf(database.pool, userId)).toMatchObject({ rows: 0 });
  },
);
