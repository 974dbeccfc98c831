import type pg from "pg";
import { insertEntries } from "../../../src/entries/sql/insert-entries.ts";

/** The statement that records entries, word by word as the service sends it. */
export async function insertStatement(): Promise<{ name: string; text: string }> {
  let sent: pg.QueryConfig | undefined;
  // It is handed a connection that only writes down what it is asked.
  const connection = {
    query(statement: pg.QueryConfig) {
      sent = statement;
      return { rows: [] };
    },
    release() {},
  };
  await insertEntries({ connect: async () => connection } as unknown as pg.Pool, []);
  if (sent?.name === undefined) throw new Error("insertEntries sent nothing with a name");
  return { name: sent.name, text: sent.text };
}
