import { finished } from "node:stream/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CsvError, type Parser, parse } from "csv-parse";
import type { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { type Columns, findColumns } from "./header.ts";
import { parseTimestamp } from "./parse-timestamp.ts";
import { printable } from "./printable.ts";
import { readText } from "./read-text.ts";

/** A row of the file: an entry to record, or the reason why the row is invalid. */
export type Row =
  | { readonly line: number; readonly entry: MessageInitShape<typeof CreateEntryRequestSchema> }
  | { readonly line: number; readonly reason: string };

/** More than any valid row has. Without this limit, the text after an unclosed quote would fill the memory. */
const maxRowBytes = 1024 * 1024;

/**
 * Reads CSV (see {@link readText}) whose first line names the columns request_id, user_id, word_count and timestamp, in
 * any order and among others. Skips empty lines. Reads on demand, with a small buffer.
 *
 * @param file a path, or `-` for standard input
 * @param onBytes called with the number of bytes of the file that have been read so far
 * @param onFiner called for each timestamp that is more precise than a microsecond, the precision that is stored
 * @throws Error if the file cannot be read, its first line does not name each column once, or a quote makes the end of
 * a row unknown
 */
export async function* readRows(
  file: string,
  onBytes: (total: number) => void,
  onFiner: () => void = () => {},
): AsyncIterable<Row> {
  const { chunks, head, isDamaged } = await readText(file, onBytes);
  const lines = new LineCounter();
  const rows: Row[] = [];
  let columns: Columns | undefined;
  let lastQuoteLine: number | undefined;

  const parser = parse({
    bom: true,
    record_delimiter: ["\r\n", "\n", "\r"],
    skip_empty_lines: true,
    trim: isPadded(head),
    relax_column_count: true,
    max_record_size: maxRowBytes,
    on_record(fields: string[], info) {
      const line = lines.startOf(fields, info.lines);
      if (!columns) columns = findColumns(fields);
      else if (!isBlank(fields)) rows.push({ line, ...toEntry(fields, columns, isDamaged(), onFiner) });
      return null;
    },
    skip_records_with_error: true,
    on_skip(error) {
      if (error?.code !== "INVALID_OPENING_QUOTE" || !columns) throw lines.fatal(error);
      // The parser continues with the next line, but first reports every misplaced quote of this line.
      const line = lines.lineOf(error);
      if (line !== lastQuoteLine) rows.push({ line, reason: "has a quote in an unquoted field" });
      lastQuoteLine = line;
    },
  });
  // The calls below also receive the parser's errors.
  parser.on("error", () => {});
  // A pipeline would discard the rows before an error.
  try {
    for await (const chunk of chunks) {
      await write(parser, chunk);
      yield* rows.splice(0);
    }
    parser.end();
    await finished(parser.resume());
  } catch (error) {
    yield* rows.splice(0);
    throw error;
  }
  yield* rows;
  if (!columns) findColumns([]);
}

function write(parser: Parser, chunk: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    parser.write(chunk, (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * Whether the file has spaces around its fields, which are then removed. In other files a user_id keeps its spaces,
 * because without them it identifies another learner.
 */
function isPadded(head: string): boolean {
  const [firstLine = ""] = head.split(/[\r\n]/, 1);
  return /(?:^|,)[\ufeff"]*[ \t]+"?user_id|user_id"?[ \t]+(?:,|$)/.test(firstLine);
}

function isBlank(fields: readonly string[]): boolean {
  return fields.length === 1 && fields[0]?.trim() === "";
}

/**
 * @param isDamaged whether the file has bytes that could not be decoded
 * @param onFiner called if the timestamp is more precise than a microsecond, the precision that is stored
 */
function toEntry(fields: readonly string[], columns: Columns, isDamaged: boolean, onFiner: () => void) {
  if (isDamaged && fields.some((field) => field.includes("\ufffd"))) {
    return { reason: "has bytes that are not UTF-8" };
  }
  const mismatch = mismatchOf(fields, columns);
  if (mismatch !== undefined) return { reason: mismatch };
  const requestId = fields[columns.requestId]?.trim();
  // In a padded file, the parser has removed the spaces. In other files they are part of the user_id.
  const userId = fields[columns.userId];
  const wordCount = fields[columns.wordCount]?.trim();
  const timestamp = fields[columns.timestamp]?.trim();
  if (!requestId || !userId?.trim() || !wordCount || !timestamp) {
    const values = { request_id: requestId, user_id: userId?.trim(), word_count: wordCount, timestamp };
    const empty = Object.entries(values).flatMap(([name, value]) => (value ? [] : name));
    return { reason: `${empty.join(", ")} ${empty.length === 1 ? "is" : "are"} empty` };
  }
  if (userId.startsWith("\ufeff")) return { reason: "user_id begins with a byte order mark" };
  if (!/^\d+$/.test(wordCount) || Number(wordCount) > 2_147_483_647) {
    return { reason: `word_count ${printable(wordCount)} is not a whole number from 0 to 2147483647` };
  }
  try {
    const parsed = parseTimestamp(timestamp);
    if (parsed.exceedsMicroseconds) onFiner();
    return { entry: { requestId, userId, wordCount: Number(wordCount), timestamp: parsed.timestamp } };
  } catch (error) {
    if (error instanceof RangeError) return { reason: error.message };
    throw error;
  }
}

/** Returns the reason why a row does not match the columns; undefined if it matches. */
function mismatchOf(fields: readonly string[], { count, unnamed }: Columns): string | undefined {
  if (fields.length === count && unnamed.length === 0) return undefined;
  if (fields.length < count)
    return `the number of fields is ${fields.length}, but ${count} in the first line`;
  const hasValue = (index: number) => fields[index]?.trim();
  const index = unnamed.find(hasValue) ?? fields.findIndex((_, index) => index >= count && hasValue(index));
  return index === -1 ? undefined : `has a value in field ${index + 1}, which has no name in the first line`;
}

/**
 * Finds the line in which a row begins. The parser reports the line in which the row ends, and counts a CRLF within
 * quotes as two lines.
 */
class LineCounter {
  /** The line in which the last row ended, as counted by the parser. */
  #parsed = 0;
  /** By how many lines the parser's count is too high. */
  #surplus = 0;

  /** @param parsed the line in which the row ends, as counted by the parser */
  startOf(fields: readonly string[], parsed: number): number {
    const isOneLine = parsed === this.#parsed + 1;
    this.#parsed = parsed;
    if (isOneLine) return parsed - this.#surplus;
    const breaks = fields.flatMap((field) => field.match(/\r\n|\r|\n/g) ?? []);
    this.#surplus += breaks.filter((lineBreak) => lineBreak === "\r\n").length;
    return parsed - this.#surplus - breaks.length;
  }

  lineOf(error: CsvError): number {
    return Number(error.lines) - this.#surplus;
  }

  /** Returns the error that ends the import, because it is unknown where the row ends and the next one begins. */
  fatal(error: CsvError | undefined): Error {
    const begin = `line ${this.#parsed + 1 - this.#surplus}`;
    switch (error?.code) {
      case "CSV_QUOTE_NOT_CLOSED":
        return new Error(`${begin}: a quote is not closed`);
      case "CSV_MAX_RECORD_SIZE":
        return new Error(`${begin}: the row is larger than 1 MiB; probably a quote is not closed`);
      case "CSV_INVALID_CLOSING_QUOTE":
      case "CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE":
        return new Error(`${begin}: text follows a closing quote; write a quote within a quoted field twice`);
      default:
        return new Error(`${begin}: ${error?.message ?? "this is not CSV"}`);
    }
  }
}
