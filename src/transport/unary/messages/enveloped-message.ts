import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { compressedFlag, type EnvelopedMessage, envelopeDecompress } from "@connectrpc/connect/protocol";
import type { BodyReader, Exchange } from "../http/exchange.ts";
import type { Encoding } from "./encoding.ts";
import { messageLength, prefixBytes } from "./envelope.ts";
import { messageTooLarge, ReceivedBytes } from "./received-bytes.ts";

interface ReadOptions {
  /** The maximum size of an envelope's content. */
  readonly maxBytes: number;
  /** The flag of envelopes that hold no message, such as the trailers of gRPC-Web. */
  readonly skippedFlag?: number;
}

/** A body may have any number of compressed envelopes without a message. Only this many are checked for damage. */
const maxDecompressedWithoutMessage = 100;

/**
 * Reads the one message of a body in which every message has an envelope. The message is parsed as soon as it is
 * complete, so that an invalid one is rejected before the body ends.
 *
 * @throws ConnectError if the body has no message or more than one, or if the message cannot be parsed
 */
export function readSingleMessage(
  exchange: Exchange,
  encoding: Encoding,
  options: ReadOptions,
): Promise<Message> {
  return exchange.read(new SingleMessageReader(exchange, encoding, options));
}

/**
 * Splits a body into envelopes and parses its message. Stops at a second message, which is an error. Decompression is
 * asynchronous, so the results of compressed envelopes are promises, which are awaited in the order of the body.
 */
class SingleMessageReader implements BodyReader<Message> {
  readonly #exchange: Exchange;
  readonly #encoding: Encoding;
  readonly #maxBytes: number;
  readonly #skippedFlag: number;
  /** The received bytes of the next envelope. */
  readonly #received = new ReceivedBytes();
  /** The number of bytes that the next step needs: first the prefix, then the whole envelope. */
  #neededBytes = prefixBytes;
  #messages = 0;
  #decompressedWithoutMessage = 0;
  #hasParsed = false;
  /** An error that was found after the first parsed envelope. */
  #error: ConnectError | undefined;
  #first: Message | Promise<Message | undefined> | undefined;
  #others: Promise<Message | undefined>[] | undefined;

  constructor(exchange: Exchange, encoding: Encoding, { maxBytes, skippedFlag = 0 }: ReadOptions) {
    this.#exchange = exchange;
    this.#encoding = encoding;
    this.#maxBytes = maxBytes;
    this.#skippedFlag = skippedFlag;
  }

  add(chunk: Uint8Array): boolean {
    this.#received.add(chunk);
    // Splits the whole chunk before it parses: an error of an envelope takes precedence over an error of a message.
    const envelopes: EnvelopedMessage[] = [];
    while (this.#messages < 2) {
      const envelope = this.#nextRelevantEnvelope();
      if (envelope === undefined) break;
      envelopes.push(envelope);
    }
    for (const envelope of envelopes) this.#parse(envelope);
    return this.#messages === 2 || this.#error !== undefined;
  }

  result(): Message | Promise<Message> {
    const first = this.#first;
    if (first instanceof Promise || this.#others !== undefined) {
      return this.#decompressedResult([first, ...(this.#others ?? [])]);
    }
    return this.#onlyMessage(first);
  }

  /** @returns undefined if no further envelope is complete, or if the next one is too large */
  #nextRelevantEnvelope(): EnvelopedMessage | undefined {
    for (let envelope = this.#nextEnvelope(); envelope !== undefined; envelope = this.#nextEnvelope()) {
      if ((envelope.flags & this.#skippedFlag) === 0) {
        this.#messages += 1;
        return envelope;
      }
      const isCompressed = (envelope.flags & compressedFlag) !== 0;
      if (isCompressed && this.#decompressedWithoutMessage < maxDecompressedWithoutMessage) {
        this.#decompressedWithoutMessage += 1;
        return envelope;
      }
    }
    return undefined;
  }

  #nextEnvelope(): EnvelopedMessage | undefined {
    if (this.#received.length < this.#neededBytes) return undefined;
    const { bytes } = this.#received;
    const length = messageLength(bytes, 0);
    if (length > this.#maxBytes) {
      const error = messageTooLarge(length, this.#maxBytes);
      // An error of a previous envelope takes precedence.
      if (!this.#hasParsed) throw error;
      this.#error = error;
      return undefined;
    }
    this.#neededBytes = prefixBytes + length;
    if (bytes.byteLength < this.#neededBytes) return undefined;
    const data = bytes.subarray(prefixBytes, this.#neededBytes);
    this.#received.clear();
    if (bytes.byteLength > this.#neededBytes) this.#received.add(bytes.subarray(this.#neededBytes));
    this.#neededBytes = prefixBytes;
    return { flags: bytes[0] ?? 0, data };
  }

  #parse(envelope: EnvelopedMessage): void {
    this.#hasParsed = true;
    if (this.#first === undefined && (envelope.flags & compressedFlag) === 0) {
      this.#first = this.#encoding.serialization.parse(envelope.data);
      return;
    }
    const decompressed = this.#decompress(envelope, this.#others?.at(-1) ?? this.#first);
    decompressed.catch((error) => this.#exchange.cancelRead(error));
    if (this.#first === undefined) this.#first = decompressed;
    else this.#others = [...(this.#others ?? []), decompressed];
  }

  /**
   * @param previous the result of the previous envelope, whose error takes precedence
   * @returns undefined if the envelope holds no message
   */
  async #decompress(envelope: EnvelopedMessage, previous: unknown): Promise<Message | undefined> {
    await previous;
    const { serialization, compression } = this.#encoding;
    const { flags, data } = await envelopeDecompress(envelope, compression, this.#maxBytes);
    return (flags & this.#skippedFlag) === 0 ? serialization.parse(data) : undefined;
  }

  async #decompressedResult(
    envelopes: readonly (Message | Promise<Message | undefined> | undefined)[],
  ): Promise<Message> {
    let found: Message | undefined;
    for (const envelope of envelopes) {
      const message = await envelope;
      if (message && found) throw unimplemented("received extra input message for unary method");
      found ??= message;
    }
    return this.#onlyMessage(found);
  }

  #onlyMessage(message: Message | undefined): Message {
    if (this.#error !== undefined) throw this.#error;
    if (this.#received.length > 0) {
      throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
    }
    if (message === undefined) throw unimplemented("missing input message for unary method");
    return message;
  }
}

function unimplemented(what: string): ConnectError {
  return new ConnectError(`protocol error: ${what}`, Code.Unimplemented);
}
