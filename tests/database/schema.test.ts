import { expect, test } from "vitest";
import { useTestDatabase } from "../support/test-database.ts";
import { describeSchema } from "./describe-schema.ts";

const database = useTestDatabase();

test("the migrations create the reviewed schema; `npm test -- tests/database/schema.test.ts -u` updates it", async () => {
  await expect(await describeSchema(database.pool)).toMatchFileSnapshot("schema.txt");
});
