import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { readRows } from "../../../src/commands/import/read-rows.ts";
import { header, useCsvFiles } from "./csv-files.ts";

const files = useCsvFiles();

const id = (index: number) => `0199c1f0-7e1b-7c5e-9d5a-${String(index).padStart(12, "0")}`;
const time = "2024-02-29T12:00:00Z";
const row = (index: number, userId = `user ${index}`) => `${id(index)},${userId},${index},${time}`;
const rows = (...indexes: number[]) => indexes.map((index) => row(index));

test.for([
  ["a header that ends in CRLF and rows that end in LF", `${header}\r\n${rows(1, 2, 3, 4, 5).join("\n")}\n`],
  ["a header that ends in LF and rows that end in CRLF", `${header}\n${rows(1, 2, 3, 4, 5).join("\r\n")}`],
  ["a header that ends in CR and rows that end in CRLF", `${header}\r${rows(1, 2, 3, 4, 5).join("\r\n")}`],
  ["CR as its only line end", [header, ...rows(1, 2, 3, 4, 5)].join("\r")],
  [
    "two concatenated exports, the first with CRLF and the second with LF",
    `${[header, ...rows(1, 2, 3)].join("\r\n")}\r\n${rows(4, 5).join("\n")}`,
  ],
  [
    "two concatenated exports, the first with LF and the second with CRLF",
    `${[header, ...rows(1, 2, 3)].join("\n")}\n${rows(4, 5).join("\r\n")}`,
  ],
  ["CR CR LF as its line end", [header, ...rows(1, 2, 3, 4, 5)].join("\r\r\n")],
] as const)("an import reads every row of a file with %s", async ([, csv]) => {
  expect(await usersOf(csv)).toEqual([1, 2, 3, 4, 5].map((index) => `user ${index}`));
});

test("an import reads every row if only the header ends in CRLF, and a fifth column follows", async () => {
  const lines = rows(1, 2, 3, 4, 5).map((line) => `${line},note`);
  expect(await usersOf(`${header},note\r\n${lines.join("\n")}\n`)).toHaveLength(5);
});

test("an import reads every line end and character correctly across chunk boundaries", async () => {
  // The rows vary in length, so that the chunks, whose size is a power of two, end in every part of a row.
  const users = Array.from(
    { length: 3000 },
    (_, index) => `${"ü".repeat(index % 7)}${"x".repeat(index % 3)}😀`,
  );
  const csv = [header, ...users.map((user, index) => row(index, user))].map((line, index) =>
    line.concat(index % 3 === 0 ? "\r\n" : index % 3 === 1 ? "\n" : "\r"),
  );
  expect(await usersOf(csv.join(""))).toEqual(users);
});

test("a rejected row is reported with the line in which it begins, whatever line ends are within quotes", async () => {
  const lines = [
    header,
    row(1, '"two\r\nlines"'),
    `${id(2)},,1,${time}`,
    row(3, '"one\n\rtwo\r\n\r\nthree"'),
    "",
    `${id(4)},"\r\n",1,${time}`,
    `${id(5)},,1,${time}`,
  ];
  expect(await reasonsOf(lines.join("\r\n"))).toEqual([
    [4, "user_id is empty"],
    [11, "user_id is empty"],
    [13, "user_id is empty"],
  ]);
});

test.for([
  [
    "an unquoted comma in a number",
    `${id(1)},u,1,234,${time}`,
    "has a value in field 5, which has no name in the first line",
  ],
  [
    "an unquoted comma in a name",
    `${id(1)},Doe, Jane,1,${time}`,
    "has a value in field 5, which has no name in the first line",
  ],
  ["a missing field", `${id(1)},u,${time}`, "the number of fields is 3, but 4 in the first line"],
  ["a single field", "u", "the number of fields is 1, but 4 in the first line"],
  ["only empty fields", ",,,", "request_id, user_id, word_count, timestamp are empty"],
  ["an empty request_id", `,u,1,${time}`, "request_id is empty"],
  ["a user_id of spaces", `${id(1)},  ,1,${time}`, "user_id is empty"],
  ["an empty word_count and timestamp", `${id(1)},u,"", `, "word_count, timestamp are empty"],
  ["a quote within an unquoted field", `${id(1)},the "great",1,${time}`, "has a quote in an unquoted field"],
  ["a space before a quote", `${id(1)}, "u",1,${time}`, "has a quote in an unquoted field"],
  ["the column names again", header, "word_count word_count is not a whole number from 0 to 2147483647"],
  ["a second byte order mark", `\ufeff${row(1)}`, undefined],
  ["spaces around all fields but the user_id", `${id(1)} ,u, 1 , ${time} `, undefined],
] as const)("a row with %s is reported if invalid, and affects no other row", async ([, line, reason]) => {
  const csv = [header, row(8), line, row(9)].join("\n");
  expect(await reasonsOf(csv)).toEqual(reason === undefined ? [] : [[3, reason]]);
  expect(await usersOf(csv)).toEqual(expect.arrayContaining(["user 8", "user 9"]));
});

test("a user_id that begins with a byte order mark is rejected, because it looks like another user_id", async () => {
  const csv = `user_id,request_id,word_count,timestamp\nu,${id(1)},1,${time}\n\ufeffu,${id(2)},1,${time}`;
  expect(await reasonsOf(csv)).toEqual([[3, "user_id begins with a byte order mark"]]);
});

test("a reason quotes at most 80 characters of a field, and no control characters", async () => {
  const csv = [header, `${id(1)},u,${"9".repeat(1000)},${time}`, `${id(2)},u,\u001b[2J,${time}`].join("\n");
  expect(await reasonsOf(csv)).toEqual([
    [2, `word_count ${"9".repeat(80)}… is not a whole number from 0 to 2147483647`],
    [3, "word_count \ufffd[2J is not a whole number from 0 to 2147483647"],
  ]);
});

test("empty fields after the last column, which spreadsheets write, are ignored", async () => {
  expect(await reasonsOf([header, `${row(1)},,`, `${row(2)}, ,`].join("\n"))).toEqual([]);
  expect(await usersOf([`${header},,`, `${row(1)},,`, row(2)].join("\n"))).toEqual(["user 1", "user 2"]);
});

test("a value in a column without a name is rejected", async () => {
  const csv = [
    `request_id,user_id,timestamp,word_count,`,
    `${id(1)},u,${time},1,234`,
    `${id(2)},u,${time},1,`,
  ];
  expect(await reasonsOf(csv.join("\n"))).toEqual([
    [2, "has a value in field 5, which has no name in the first line"],
  ]);
});

test("spaces of a user_id are kept, because they distinguish learners", async () => {
  const csv = [header, row(1, "u"), row(2, "u "), row(3, " u"), row(4, '"u "')].join("\n");
  expect(await usersOf(csv)).toEqual(["u", "u ", " u", "u "]);
});

test.for([
  ["after the commas", ", "],
  ["before and after the commas", " , "],
] as const)("spaces around the fields are removed if the header has them, too: %s", async ([, comma]) => {
  const lines = [header, row(1, "u"), row(2, '"u"'), row(3, '" u "'), row(4, "voilà"), row(5, "ఠ")];
  const csv = lines.join("\n").replaceAll(",", comma);
  expect(await usersOf(csv)).toEqual(["u", "u", " u ", "voilà", "ఠ"]);
});

test("rows in Windows-1252 are rejected, and the rows around them are read", async () => {
  const csv = [header, row(1), row(2, "Jürgen"), row(3, "Jörgen"), row(4)].join("\n");
  const content = Buffer.from(csv, "latin1");
  expect(await reasonsOf(content)).toEqual([
    [3, "has bytes that are not UTF-8"],
    [4, "has bytes that are not UTF-8"],
  ]);
  expect(await usersOf(content)).toEqual(["user 1", "user 4"]);
});

test.for([
  ["a truncated character", Buffer.from("ü").subarray(0, 1)],
  ["an overlong encoding", Buffer.from([0xc0, 0xaf])],
  ["a surrogate", Buffer.from([0xed, 0xa0, 0x80])],
  ["a code point beyond Unicode", Buffer.from([0xf4, 0x90, 0x80, 0x80])],
] as const)(
  "a row with %s is rejected, even in an unused column at the end of the file",
  async ([, bytes]) => {
    const note = Buffer.concat([Buffer.from(`${header},note\n${row(1)},\n${row(2)},`), bytes]);
    expect(await reasonsOf(note)).toEqual([[3, "has bytes that are not UTF-8"]]);
  },
);

test("U+FFFD is accepted where the file itself contains it", async () => {
  expect(await usersOf([header, row(1, "\ufffd")].join("\n"))).toEqual(["\ufffd"]);
});

test.for([
  ["UTF-16LE", (text: string) => Buffer.from(text, "utf16le")],
  ["UTF-16BE", (text: string) => Buffer.from(text, "utf16le").swap16()],
] as const)(
  "%s with a byte order mark is read, and a row with half of a surrogate pair is rejected",
  async ([, encode]) => {
    const csv = [header, row(1, "Zoë 😀"), row(2, "\ud800"), row(3)].join("\r\n");
    for (const content of [encode(`\ufeff${csv}`), gzipSync(encode(`\ufeff${csv}`))]) {
      expect(await usersOf(content)).toEqual(["Zoë 😀", "user 3"]);
      expect(await reasonsOf(content)).toEqual([[3, "has bytes that are not UTF-8"]]);
    }
  },
);

const missing = "columns missing in the first line:";
test.for([
  [
    "semicolons as separators",
    header.replaceAll(",", ";"),
    `${missing} ${spaced(header)}; separate the fields by commas, not by semicolons`,
  ],
  [
    "tabs as separators",
    header.replaceAll(",", "\t"),
    `${missing} ${spaced(header)}; separate the fields by commas, not by tabs`,
  ],
  [
    "column names in capitals",
    header.toUpperCase(),
    `${missing} ${spaced(header)}; write request_id, not REQUEST_ID`,
  ],
  [
    "column names in camel case",
    "request_id,userId,word_count,timestamp",
    `${missing} user_id; write user_id, not userId`,
  ],
  ["no header", row(1), `${missing} ${spaced(header)}; it looks like a row: put ${header} above it`],
  ["UTF-16 without a byte order mark", Buffer.from(header, "utf16le"), "this is not UTF-8"],
  [
    "the content of a ZIP archive",
    Buffer.from("PK\u0003\u0004\u0014"),
    "this is a ZIP archive or a spreadsheet: save it as CSV",
  ],
  [
    "two columns of the same name",
    `${header},word_count`,
    "the first line names word_count more than once, in columns 3 and 5",
  ],
  [
    "two columns whose names differ only in case",
    `User_ID,${header}`,
    "the first line names user_id more than once, in columns 1 and 3",
  ],
  ["a quote in a column name", `${header},the "note"`, "line 1"],
] as const)("a file with %s is rejected with the reason", async ([, firstLine, reason]) => {
  const content = Buffer.concat([Buffer.from(firstLine), Buffer.from(`\n${row(1)}`)]);
  await expect(read(content)).rejects.toThrow(reason);
});

test("other columns may have the same name", async () => {
  expect(await usersOf([`${header},note,note`, `${row(1)},a,b`].join("\n"))).toEqual(["user 1"]);
});

test("an unclosed quote is reported before the rest of the file fills the memory", async () => {
  const csv = [header, row(1), `${id(2)},"u,1,${time}`, ...Array<string>(50_000).fill(row(3))].join("\n");
  await expect(read(csv)).rejects.toThrow(
    "line 3: the row is larger than 1 MiB; probably a quote is not closed",
  );
});

async function read(content: string | Buffer) {
  const read = [];
  for await (const row of readRows(await files.write(content), () => {})) read.push(row);
  return read;
}

async function usersOf(content: string | Buffer) {
  return (await read(content)).flatMap((row) => ("entry" in row ? row.entry.userId : []));
}

async function reasonsOf(content: string | Buffer) {
  return (await read(content)).flatMap((row) => ("reason" in row ? [[row.line, row.reason]] : []));
}

function spaced(names: string) {
  return names.replaceAll(",", ", ");
}
