import { createReadStream } from "node:fs";
import { PassThrough, type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { fromJson, type MessageInitShape } from "@bufbuild/protobuf";
import { type Timestamp, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { parse } from "csv-parse";
import type { CreateEntryRequestSchema } from "#gen/dailyaggregator/v1/entry_pb.js";

/** A row of the file: an entry to record, or the reason why it is none. */
export type Row =
  | { readonly line: number; readonly entry: MessageInitShape<typeof CreateEntryRequestSchema> }
  | { readonly line: number; readonly reason: string };

const columns = ["request_id", "user_id", "word_count", "timestamp"] as const;

/**
 * Reads CSV, plain or gzip, whose first line names the columns request_id, user_id, word_count and timestamp (RFC 3339),
 * in any order and among others; empty lines do not count. Nothing is read ahead of what is asked for, but a small
 * buffer.
 *
 * @param file a path, or `-` for standard input
 * @param onBytes is told how many bytes of the file have been read so far
 * @throws Error if the file cannot be read or has not got the columns
 */
export async function* readRows(file: string, onBytes: (total: number) => void): AsyncIterable<Row> {
  let hasHeader = false;
  const parser = parse({
    columns(header: string[]) {
      hasHeader = true;
      return checkHeader(header);
    },
    info: true,
    bom: true,
    relax_column_count: true,
    skip_empty_lines: true,
    trim: true,
  });
  const source = file === "-" ? process.stdin : createReadStream(file);
  const decoded = await gunzipIfNeeded(countBytes(source, onBytes));
  const reading = pipeline(decoded, parser);
  // A failure shows in the loop, too; this keeps it from counting as unhandled before that.
  reading.catch(() => {});
  for await (const { info, record } of parser) yield toRow(info.lines, record);
  await reading;
  if (!hasHeader) checkHeader([]);
}

function checkHeader(header: string[]): string[] {
  const missing = columns.filter((name) => !header.includes(name));
  if (missing.length > 0) throw new Error(`the first line names no column ${missing.join(", ")}`);
  return header;
}

function toRow(line: number, record: Partial<Record<string, string>>): Row {
  const [requestId, userId, wordCount, timestamp] = columns.map((name) => record[name]);
  if (!requestId || !userId || !wordCount || !timestamp) return { line, reason: "a column is empty" };
  if (!/^\d+$/.test(wordCount) || Number(wordCount) > 2_147_483_647) {
    return { line, reason: `word_count ${wordCount} is no whole number from 0 to 2147483647` };
  }
  try {
    return {
      line,
      entry: { requestId, userId, wordCount: Number(wordCount), timestamp: parseTimestamp(timestamp) },
    };
  } catch {
    return { line, reason: `timestamp ${timestamp} is not as in 2024-02-29T12:00:00+01:00` };
  }
}

/** @throws Error if it is not RFC 3339 */
function parseTimestamp(text: string): Timestamp {
  const day = text.slice(0, "2024-02-29".length);
  // What parses it takes February 30 for March 1.
  if (!new Date(day).toISOString().startsWith(day)) throw new RangeError(`there is no ${day}`);
  return fromJson(TimestampSchema, text);
}

async function* countBytes(source: Readable, onBytes: (total: number) => void): AsyncIterable<Buffer> {
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    onBytes(total);
    yield chunk;
  }
}

/** Looks at the first two bytes: a name may lie, and standard input has none. */
async function gunzipIfNeeded(source: AsyncIterable<Buffer>): Promise<Readable> {
  const chunks = source[Symbol.asyncIterator]();
  const first = await chunks.next();
  const isGzip = !first.done && first.value[0] === 0x1f && first.value[1] === 0x8b;
  async function* all() {
    if (!first.done) yield first.value;
    yield* { [Symbol.asyncIterator]: () => chunks };
  }
  const target = isGzip ? createGunzip() : new PassThrough();
  pipeline(all(), target).catch(() => {});
  return target;
}
