import { onTestFinished } from "vitest";
import { connect } from "../support/connection.ts";
import type { TestDatabase } from "../support/test-database.ts";

/** Listens on a channel until the test finishes. @returns a list to which each received payload is added */
export async function listenTo({ url }: TestDatabase, channel: string): Promise<string[]> {
  const payloads: string[] = [];
  const client = await connect(url);
  onTestFinished(() => client.end());
  client.on("notification", ({ payload = "" }) => payloads.push(payload));
  await client.query(`LISTEN ${client.escapeIdentifier(channel)}`);
  return payloads;
}
