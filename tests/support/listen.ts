import { onTestFinished } from "vitest";
import { connect } from "./connection.ts";
import type { TestDatabase } from "./test-database.ts";

/** Follows a channel until the test is done; what comes over it is added to the list. */
export async function listenTo({ url }: TestDatabase, channel: string): Promise<string[]> {
  const payloads: string[] = [];
  const client = await connect(url);
  onTestFinished(() => client.end());
  client.on("notification", ({ payload = "" }) => payloads.push(payload));
  await client.query(`LISTEN ${client.escapeIdentifier(channel)}`);
  return payloads;
}
