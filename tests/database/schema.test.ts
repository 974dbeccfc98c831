import { expect, test } from "vitest";
import { useTestDatabase } from "../support/test-database.ts";
import { describeSchema } from "./describe-schema.ts";

const database = useTestDatabase();

test("all migrations together make the schema that was reviewed; `npm test -- -u` writes it anew", async () => {
  await expect(await describeSchema(database.pool)).toMatchFileSnapshot("schema.txt");
});
