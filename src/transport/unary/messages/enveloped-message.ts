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
import type { BodyReader, Exchange } from "../http/exchange.ts";
import { reuseEnvelope } from "./encoded-message.ts";
import { fillEnvelope, prefixBytes } from "./envelope.ts";
import { EnvelopeReader } from "./envelope-reader.ts";

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
export function readSingleMessage(
  exchange: Exchange,
  encoding: Encoding,
  options: ReadOptions,
): Promise<Message> {
  return exchange.read(new SingleMessageReader(exchange, encoding, options));
}

class SingleMessageReader extends EnvelopeReader implements BodyReader<Message> {
  readonly #exchange: Exchange;
  readonly #encoding: Encoding;
  // A compressed one may turn out to be none.
  #first: Message | Promise<Message | undefined> | undefined;
  #others: Promise<Message | undefined>[] | undefined;

  constructor(exchange: Exchange, encoding: Encoding, { maxBytes, skippedFlag = 0 }: ReadOptions) {
    super(maxBytes, skippedFlag);
    this.#exchange = exchange;
    this.#encoding = encoding;
  }

  protected take(envelope: EnvelopedMessage): void {
    if (this.#first === undefined && (envelope.flags & compressedFlag) === 0) {
      this.#first = this.#encoding.serialization.parse(envelope.data);
      return;
    }
    const unpacked = this.#unpack(envelope, this.#others?.at(-1) ?? this.#first);
    unpacked.catch((error) => this.#exchange.interruptReading(error));
    if (this.#first === undefined) this.#first = unpacked;
    else this.#others = [...(this.#others ?? []), unpacked];
  }

  result(): Message | Promise<Message> {
    const first = this.#first;
    if (first instanceof Promise || this.#others !== undefined) {
      return this.#resultOfUnpacked([first, ...(this.#others ?? [])]);
    }
    return this.#only(first);
  }

  async #resultOfUnpacked(
    envelopes: readonly (Message | Promise<Message | undefined> | undefined)[],
  ): Promise<Message> {
    let found: Message | undefined;
    for (const envelope of envelopes) {
      const message = await envelope;
      if (message && found) throw unimplemented("received extra input message for unary method");
      found ??= message;
    }
    return this.#only(found);
  }

  #only(message: Message | undefined): Message {
    this.expectEnd();
    if (message === undefined) throw unimplemented("missing input message for unary method");
    return message;
  }

  /**
   * @param before what came before it, whose errors come first
   * @returns undefined if it holds no message
   */
  async #unpack(envelope: EnvelopedMessage, before: unknown): Promise<Message | undefined> {
    await before;
    const { serialization, compression } = this.#encoding;
    const { flags, data } = await envelopeDecompress(envelope, compression, this.maxBytes);
    return (flags & this.skippedFlag) === 0 ? serialization.parse(data) : undefined;
  }
}

function unimplemented(what: string): ConnectError {
  return new ConnectError(`protocol error: ${what}`, Code.Unimplemented);
}

/** @throws ConnectError if the message cannot be written, or is too large */
export function envelop(
  message: Message,
  { serialization, compression }: Encoding,
  compressMinBytes: number,
): Uint8Array | Promise<Uint8Array> {
  const data = serialization.serialize(message);
  const known = compression === null ? reuseEnvelope(message, data) : undefined;
  return known ?? envelopBytes(0, data, compression, compressMinBytes);
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

/** In memory from Node's pool: an ArrayBuffer for each answer is dear. */
function withPrefix(flags: number, data: Uint8Array): Uint8Array {
  const envelope = Buffer.allocUnsafe(prefixBytes + data.byteLength);
  fillEnvelope(envelope, flags, data);
  return envelope;
}
