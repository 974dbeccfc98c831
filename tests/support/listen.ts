import pg from "pg";
import { onTestFinished } from "vitest";
import type { TestDatabase } from "./test-database.ts";

/** Follows a channel until the test is done; what comes over it is added to the list. */
export async function listenTo({ url }: TestDatabase, channel: string): Promise<string[]> {
  const payloads: string[] = [];
  const client = new pg.Client({ connectionString: url });
  onTestFinished(() => client.end());
  await client.connect();
  client.on("notification", ({ payload = "" }) => payloads.push(payload));
  await client.query(`LISTEN ${client.escapeIdentifier(channel)}`);
  return payloads;
}
