import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressedFlag,
  type EnvelopedMessage,
  envelopeCompress,
  envelopeDecompress,
  type Serialization,
} from "@connectrpc/connect/protocol";
import { EnvelopeReader, prefixBytes } from "./envelope-reader.ts";
import type { Exchange } from "./exchange.ts";

/** How messages become bytes. */
export interface Encoding {
  readonly serialization: Serialization<Message>;
  readonly compression: Compression | null;
}

interface ReadOptions {
  readonly maxBytes: number;
  /** Marks envelopes that hold no message. */
  readonly skippedFlag?: number;
}

/**
 * Reads the one message of a body. It is parsed as soon as it is there, so that what is wrong with it is answered
 * before the body's end.
 *
 * @throws ConnectError if there is none, or two, or it cannot be parsed
 */
export async function readSingleMessage(
  exchange: Exchange,
  encoding: Encoding,
  { maxBytes, skippedFlag = 0 }: ReadOptions,
): Promise<Message> {
  const found: FoundMessages = {};
  const reader = new EnvelopeReader({
    maxBytes,
    skippedFlag,
    take(envelope) {
      if (found.first === undefined && (envelope.flags & compressedFlag) === 0) {
        found.first = encoding.serialization.parse(envelope.data);
        return;
      }
      const unpacked = unpack(envelope, encoding, { maxBytes, skippedFlag }, found.first);
      unpacked.catch((error) => exchange.interruptReading(error));
      if (found.first === undefined) found.first = unpacked;
      else found.second = unpacked;
    },
  });
  await exchange.read(reader);

  const first = found.first instanceof Promise ? await found.first : found.first;
  const second = found.second && (await found.second);
  if (first && second) throw unimplemented("received extra input message for unary method");
  reader.expectEnd();
  const message = first ?? second;
  if (message === undefined) throw unimplemented("missing input message for unary method");
  return message;
}

/** A compressed one may turn out to be none. */
interface FoundMessages {
  first?: Message | Promise<Message | undefined>;
  second?: Promise<Message | undefined>;
}

function unimplemented(what: string): ConnectError {
  return new ConnectError(`protocol error: ${what}`, Code.Unimplemented);
}

/**
 * @param before what came before it, whose errors come first
 * @returns undefined if it holds no message
 */
async function unpack(
  envelope: EnvelopedMessage,
  { serialization, compression }: Encoding,
  { maxBytes, skippedFlag }: Required<ReadOptions>,
  before: unknown,
): Promise<Message | undefined> {
  await before;
  const { flags, data } = await envelopeDecompress(envelope, compression, maxBytes);
  return (flags & skippedFlag) === 0 ? serialization.parse(data) : undefined;
}

/** @throws ConnectError if the message cannot be written, or is too large */
export function envelop(
  message: Message,
  { serialization, compression }: Encoding,
  compressMinBytes: number,
): Uint8Array | Promise<Uint8Array> {
  return envelopBytes(0, serialization.serialize(message), compression, compressMinBytes);
}

/** @param flags without that of compression */
export function envelopBytes(
  flags: number,
  data: Uint8Array,
  compression: Compression | null,
  compressMinBytes: number,
): Uint8Array | Promise<Uint8Array> {
  if (compression === null || data.byteLength < compressMinBytes) return withPrefix(flags, data);
  return envelopeCompress({ flags, data }, compression, compressMinBytes).then((compressed) =>
    withPrefix(compressed.flags, compressed.data),
  );
}

/** As encodeEnvelope of connect does, but in memory from Node's pool: an ArrayBuffer for each answer is dear. */
function withPrefix(flags: number, data: Uint8Array): Uint8Array {
  const envelope = Buffer.allocUnsafe(prefixBytes + data.byteLength);
  envelope[0] = flags;
  envelope.writeUInt32BE(data.byteLength, 1);
  envelope.set(data, prefixBytes);
  return envelope;
}
