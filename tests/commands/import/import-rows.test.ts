import { randomUUID } from "node:crypto";
import { gzipSync } from "node:zlib";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { importRows } from "../../../src/commands/import/import-rows.ts";
import { readRows } from "../../../src/commands/import/read-rows.ts";
import { aggregatesOf, checkAggregatesAfterAll } from "../../support/aggregates.ts";
import { grpcClient } from "../../support/clients.ts";
import { useTestService } from "../../support/test-service.ts";
import { csvOf, header, useCsvFiles } from "./csv-files.ts";

const service = useTestService();
checkAggregatesAfterAll(service.database);
const files = useCsvFiles();

test("an import preserves microseconds, UTC offsets, quotes, line breaks and characters of any script", async () => {
  const users = ['a "quoted", user', "two\nlines", "Zoë 😀"].map((name) => `${name} ${randomUUID()}`);
  const quote = (text: string) => `"${text.replaceAll('"', '""')}"`;
  const rows = users.map((user) => `${randomUUID()},${quote(user)},7,2024-02-29T13:00:00.123456+01:00`);
  expect(await importFile([header, ...rows].join("\n"))).toMatchObject({ created: 3, rejected: 0 });
  const { seconds } = timestampFromDate(new Date("2024-02-29T12:00:00Z"));
  for (const userId of users) {
    const { entries } = await grpcClient(service.url).listEntries({ userId });
    expect(entries).toMatchObject([{ wordCount: 7, timestamp: { seconds, nanos: 123_456_000 } }]);
  }
});

test.for([
  ["CRLF", (csv: string) => csv.replaceAll("\n", "\r\n")],
  ["a byte order mark", (csv: string) => `\ufeff${csv}`],
  ["a line break at the end", (csv: string) => `${csv}\n`],
  ["empty lines", (csv: string) => `${csv.replaceAll("\n", "\n\n")}\n\n`],
  ["empty lines and CRLF", (csv: string) => `${csv.replaceAll("\n", "\r\n\r\n")}\r\n\r\n`],
  ["request_ids in upper case", (csv: string) => csv.replaceAll(/[0-9a-f-]{36}/g, (id) => id.toUpperCase())],
  ["spaces around the fields", (csv: string) => csv.replaceAll(",", " , ")],
  ["every field in quotes", (csv: string) => csv.replaceAll(/[^,\n]+/g, '"$&"')],
  ["a byte order mark before a quote", (csv: string) => `\ufeff${csv.replace("request_id", '"request_id"')}`],
  ["gzip compression", (csv: string) => gzipSync(csv)],
  [
    "gzip compression, a byte order mark and CRLF",
    (csv: string) => gzipSync(`\ufeff${csv.replaceAll("\n", "\r\n")}`),
  ],
] as const)("an import accepts a file with %s", async ([, change]) => {
  const userId = randomUUID();
  expect(await importFile(change(csvOf(userId, 3)))).toEqual({
    created: 3,
    duplicates: 0,
    rejected: 0,
    rejections: [],
  });
});

test("an import finds the columns in any order and among others", async () => {
  const userId = randomUUID();
  const names = "note,timestamp,word_count,request_id,user_id,more";
  const row = `x,2024-02-29T12:00:00Z,7,${randomUUID()},${userId},`;
  expect(await importFile(`${names}\n${row}`)).toMatchObject({ created: 1 });
  expect(await aggregatesOf(service.database.pool, userId)).toEqual({ words: 7, entries: 1, rows: 1 });
});

test.for([
  ["LF", "\n"],
  ["CRLF", "\r\n"],
] as const)(
  "an import reports the line and reason of each rejected row, and records the others (%s)",
  async ([, lineBreak]) => {
    const userId = randomUUID();
    const id = () => randomUUID();
    const time = "2024-02-29T12:00:00Z";
    const tomorrow = new Date(Date.now() + 25 * 3_600_000).toISOString();
    const lines = [
      header,
      `${id()},${userId},1,${time}`,
      `no-uuid,${userId},1,${time}`,
      `${id()},,1,${time}`,
      `${id()},${userId},-1,${time}`,
      `${id()},${userId},1.5,${time}`,
      `${id()},${userId},2147483648,${time}`,
      "",
      `${id()},${userId},1,yesterday`,
      `${id()},${userId},1,2024-02-30T12:00:00Z`,
      `${id()},${userId},1,${tomorrow}`,
      `${id()},${userId},1,1969-12-31T23:59:59Z`,
      `${id()},${"u".repeat(129)},1,${time}`,
      `${id()},a\0b,1,${time}`,
      `${id()},${userId},1`,
      `${id()},${userId},1,${time}`,
    ];
    const { rejections, ...tally } = await importFile(lines.join(lineBreak));
    expect(rejections).toEqual([
      [3, expect.stringMatching(/^request_id: .*UUID/)],
      [4, "user_id is empty"],
      [5, "word_count -1 is not a whole number from 0 to 2147483647"],
      [6, "word_count 1.5 is not a whole number from 0 to 2147483647"],
      [7, "word_count 2147483648 is not a whole number from 0 to 2147483647"],
      [9, "timestamp yesterday is not a valid time such as 2024-02-29T12:00:00+01:00"],
      [10, "timestamp 2024-02-30T12:00:00Z is not a valid time such as 2024-02-29T12:00:00+01:00"],
      [11, expect.stringMatching(/^timestamp: .*24 hours/)],
      [12, expect.stringMatching(/^timestamp: .*1970/)],
      [13, expect.stringMatching(/^user_id: .*128/)],
      [14, expect.stringMatching(/^user_id: /)],
      [15, "the number of fields is 3, but 4 in the first line"],
    ]);
    expect(tally).toEqual({ created: 2, duplicates: 0, rejected: 12 });
    expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 2 });
  },
);

test("an import rejects a row whose request_id is already recorded with another payload, and changes nothing", async () => {
  const userId = randomUUID();
  const csv = csvOf(userId, 2);
  await importFile(csv);
  const { rejections, ...tally } = await importFile(csv.replaceAll(",1,", ",9,"));
  expect(tally).toEqual({ created: 0, duplicates: 0, rejected: 2 });
  expect(rejections).toEqual([
    [2, expect.stringMatching(/^request_id [0-9a-f-]{36} is already recorded with another payload$/)],
    [3, expect.stringMatching(/^request_id [0-9a-f-]{36} is already recorded with another payload$/)],
  ]);
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ words: 2 });
});

test.for([
  ["word_count", { wordCount: 7 }],
  ["user_id", { userId: `another ${randomUUID()}` }],
  ["timestamp", { time: "2024-02-29T12:00:00.000001Z" }],
] as const)("an import rejects a repeated request_id if its %s differs", async ([, other]) => {
  const requestId = randomUUID();
  const row = ({ userId = "one", wordCount = 1, time = "2024-02-29T12:00:00Z" }) =>
    [requestId, userId, wordCount, time].join(",");
  // The first repetitions are in the same batch as the first row. The last two are in a later batch.
  const [, ...others] = csvOf(randomUUID(), 1000).split("\n");
  const first = row({});
  const lines = [header, first, row(other), first, ...others, row(other), first.toUpperCase()];
  const { rejections, ...tally } = await importFile(lines.join("\n").replace("ONE", "one"));
  expect(tally).toEqual({ created: 1001, duplicates: 2, rejected: 2 });
  const reason = `request_id ${requestId} is already recorded with another payload`;
  expect(rejections).toEqual([
    [3, reason],
    [1005, reason],
  ]);
});

test("an import of a file with only the header records nothing", async () => {
  expect(await importFile(`${header}\n`)).toEqual({ created: 0, duplicates: 0, rejected: 0, rejections: [] });
});

test.for([
  ["is empty", "", "columns missing in the first line: request_id, user_id, word_count, timestamp"],
  ["has only empty lines", "\n\n", "columns missing in the first line:"],
  ["is empty after decompression", gzipSync(""), "columns missing in the first line:"],
  ["lacks two columns", "request_id,user,timestamp\n", "missing in the first line: user_id, word_count"],
  ["ends in the middle of gzip data", gzipSync(csvOf("u", 100)).subarray(0, -10), "unexpected end of file"],
  [
    "has other data after its gzip data",
    Buffer.concat([gzipSync(csvOf("u", 100)), Buffer.alloc(512)]),
    "Trailing junk found after the end",
  ],
  ["has an invalid gzip header", Buffer.from([0x1f, 0x8b, 1, 2, 3]), "unknown compression method"],
] as const)("an import of a file that %s fails with the reason", async ([, content, reason]) => {
  await expect(importFile(content)).rejects.toThrow(reason);
});

test.for([
  ["an unclosed quote", (csv: string) => `${csv}\n"${randomUUID()},u,1`, "line 703: a quote is not closed"],
  [
    "text after a closing quote",
    (csv: string) => `${csv}\n"${randomUUID()}"x,u,1`,
    "line 703: text follows a closing quote",
  ],
] as const)("an import records all rows before %s, and fails with the line", async ([, change, reason]) => {
  const userId = randomUUID();
  await expect(importFile(change(csvOf(userId, 701)))).rejects.toThrow(reason);
  expect(await aggregatesOf(service.database.pool, userId)).toMatchObject({ entries: 701 });
});

async function importFile(content: string | Buffer) {
  const tally = { created: 0, duplicates: 0, rejected: 0 };
  const rejections: [line: number, reason: string][] = [];
  const rows = readRows(await files.write(content), () => {});
  await importRows(
    grpcClient(service.url),
    rows,
    { onRejected: (line, reason) => rejections.push([line, reason]) },
    tally,
  );
  return { ...tally, rejections };
}
