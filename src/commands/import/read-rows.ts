import { finished } from "node:stream/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type CsvError, type Parser, parse } from "csv-parse";
import type { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";
import { type Columns, findColumns } from "./header.ts";
import { parseTimestamp } from "./parse-timestamp.ts";
import { printable } from "./printable.ts";
import { readText } from "./read-text.ts";

/** A row of the file: an entry to record, or the reason why it is none. */
export type Row =
  | { readonly line: number; readonly entry: MessageInitShape<typeof CreateEntryRequestSchema> }
  | { readonly line: number; readonly reason: string };

/** More than any row has: what comes behind a quote that is not closed would fill the memory. */
const maxRowBytes = 1024 * 1024;

/**
 * Reads CSV (see {@link readText}) whose first line names the columns request_id, user_id, word_count and timestamp, in
 * any order and among others; empty lines do not count. Nothing is read ahead of what is asked for, but a small buffer.
 *
 * @param file a path, or `-` for standard input
 * @param onBytes is told how many bytes of the file have been read so far
 * @param onFiner called for each timestamp that is finer than a microsecond, which is what is kept
 * @throws Error if the file cannot be read, has not got the columns, or has a quote after which nobody can tell where
 * its row ends
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
  let hasQuoteIn: number | undefined;

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
      // The parser goes on with the next line, and tells of every quote in this one.
      const line = lines.lineOf(error);
      if (line !== hasQuoteIn)
        rows.push({ line, reason: "has a quote in a field that does not begin with one" });
      hasQuoteIn = line;
    },
  });
  // The calls below have its failures, too.
  parser.on("error", () => {});
  // Not by a pipeline: it would throw away the rows before a failure.
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
 * Whether the file has spaces around its fields, which then are not part of them. Elsewhere a user_id keeps its spaces:
 * without them it is another learner's.
 */
function isPadded(head: string): boolean {
  const [firstLine = ""] = head.split(/[\r\n]/, 1);
  return /(?:^|,)[\ufeff"]*[ \t]+"?user_id|user_id"?[ \t]+(?:,|$)/.test(firstLine);
}

function isBlank(fields: readonly string[]): boolean {
  return fields.length === 1 && fields[0]?.trim() === "";
}

/**
 * @param isDamaged whether there are bytes in the file that could not be decoded
 * @param onFiner called if the timestamp is finer than a microsecond, which is what is kept
 */
function toEntry(fields: readonly string[], columns: Columns, isDamaged: boolean, onFiner: () => void) {
  if (isDamaged && fields.some((field) => field.includes("\ufffd"))) {
    return { reason: "has bytes that are not UTF-8" };
  }
  const misfit = misfitOf(fields, columns);
  if (misfit !== undefined) return { reason: misfit };
  const requestId = fields[columns.requestId]?.trim();
  // Where the file is padded, the parser has taken off its spaces; elsewhere they are part of it.
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
    return { reason: `word_count ${printable(wordCount)} is no whole number from 0 to 2147483647` };
  }
  try {
    const parsed = parseTimestamp(timestamp);
    if (parsed.isFiner) onFiner();
    return { entry: { requestId, userId, wordCount: Number(wordCount), timestamp: parsed.timestamp } };
  } catch (error) {
    if (error instanceof RangeError) return { reason: error.message };
    throw error;
  }
}

/** Why a row is not one of this file, if it is not. */
function misfitOf(fields: readonly string[], { count, unnamed }: Columns): string | undefined {
  if (fields.length === count && unnamed.length === 0) return undefined;
  if (fields.length < count) return `has ${fields.length} fields, the first line has ${count}`;
  const hasValue = (index: number) => fields[index]?.trim();
  const index = unnamed.find(hasValue) ?? fields.findIndex((_, index) => index >= count && hasValue(index));
  return index === -1 ? undefined : `has more fields than names: nothing names field ${index + 1}`;
}

/** Finds the line in which a row begins; the parser counts to its end, and counts a CRLF within quotes twice. */
class LineCounter {
  /** The line in which the last row ended, as the parser counts. */
  #parsed = 0;
  /** How many lines the parser has counted too many. */
  #surplus = 0;

  /** @param parsed the line in which the row ends, as the parser counts */
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

  /** What ends the import: nobody can tell where the row ends, and which the next one is. */
  fatal(error: CsvError | undefined): Error {
    const begin = `line ${this.#parsed + 1 - this.#surplus}`;
    switch (error?.code) {
      case "CSV_QUOTE_NOT_CLOSED":
        return new Error(`${begin}: a quote is not closed`);
      case "CSV_MAX_RECORD_SIZE":
        return new Error(`${begin}: the row is larger than 1 MiB; a quote may not be closed`);
      case "CSV_INVALID_CLOSING_QUOTE":
      case "CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE":
        return new Error(
          `${begin}: something follows a closing quote; a quote within quotes is written twice`,
        );
      default:
        return new Error(`${begin}: ${error?.message ?? "this is no CSV"}`);
    }
  }
}
