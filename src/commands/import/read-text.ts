import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

/** The content of a file in UTF-8. */
export interface FileText {
  readonly chunks: AsyncIterable<Buffer>;
  /** The beginning of the file: at least its first line, unless that is longer than 64 KiB. */
  readonly head: string;
  /**
   * Whether the chunks so far contained bytes that cannot be decoded. In the chunks of a UTF-16 file, these are already
   * U+FFFD. In those of a UTF-8 file, they become U+FFFD when the chunks are decoded.
   */
  readonly isDamaged: () => boolean;
}

const maxHeadBytes = 64 * 1024;

/**
 * Reads a file in UTF-8, or in UTF-16 with a byte order mark, plain or compressed with gzip.
 *
 * @param file a path, or `-` for standard input
 * @param onBytes called with the number of bytes of the file that have been read so far
 */
export async function readText(file: string, onBytes: (total: number) => void): Promise<FileText> {
  const source = file === "-" ? process.stdin : createReadStream(file);
  const packed = await peek(countBytes(source, onBytes), (head) => head.length >= 2);
  const isGzip = packed.head[0] === 0x1f && packed.head[1] === 0x8b;
  const bytes = isGzip ? gunzip(packed.all) : packed.all;
  const { head, all } = await peek(
    bytes,
    (head) => head.length >= maxHeadBytes || /[\r\n]/.test(head.toString("latin1")),
  );

  let damaged = false;
  const encoding = utf16Of(head);
  async function* decoded() {
    const decoder = new TextDecoder(encoding);
    for await (const chunk of all) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  }
  async function* transcoded() {
    for await (const text of decoded()) {
      damaged ||= text.includes("\ufffd");
      yield Buffer.from(text);
    }
  }
  async function* checked() {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    for await (const chunk of all) {
      damaged ||= !decodes(decoder, chunk);
      yield chunk;
    }
    damaged ||= !decodes(decoder);
  }
  return {
    chunks: encoding ? transcoded() : checked(),
    head: new TextDecoder(encoding).decode(head),
    isDamaged: () => damaged,
  };
}

function utf16Of([first, second]: Buffer): "utf-16le" | "utf-16be" | undefined {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  if (first === 0xfe && second === 0xff) return "utf-16be";
  return undefined;
}

/**
 * Whether the chunk can be decoded.
 *
 * @param chunk omitted at the end of the data, where an incomplete character is an error
 */
function decodes(decoder: TextDecoder, chunk?: Buffer): boolean {
  try {
    decoder.decode(chunk, { stream: chunk !== undefined });
    return true;
  } catch {
    return false;
  }
}

async function* countBytes(source: Readable, onBytes: (total: number) => void): AsyncIterable<Buffer> {
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    onBytes(total);
    yield chunk;
  }
}

/** Reads until `isEnough` accepts the head or the source ends. `all` yields the whole source, including the head. */
async function peek(source: AsyncIterable<Buffer>, isEnough: (head: Buffer) => boolean) {
  const chunks = source[Symbol.asyncIterator]();
  let head: Buffer = Buffer.alloc(0);
  while (!isEnough(head)) {
    const { done, value } = await chunks.next();
    if (done) break;
    head = Buffer.concat([head, value]);
  }
  async function* all() {
    yield head;
    yield* { [Symbol.asyncIterator]: () => chunks };
  }
  return { head, all: all() };
}

/** @throws Error if the data is damaged, or if other data follows it, which would otherwise be ignored */
async function* gunzip(packed: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const unpacked = createGunzip({ rejectGarbageAfterEnd: true });
  // The loop below also receives the error.
  pipeline(packed, unpacked).catch(() => {});
  try {
    yield* unpacked;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the gzip data is damaged: ${reason}`, { cause: error });
  }
}
