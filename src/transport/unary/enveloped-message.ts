import type { Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressedFlag,
  type EnvelopedMessage,
  encodeEnvelope,
  envelopeCompress,
  envelopeDecompress,
  type Serialization,
} from "@connectrpc/connect/protocol";
import type { EnvelopeReader } from "./envelope-reader.ts";

/** How messages become bytes. */
export interface Encoding {
  readonly serialization: Serialization<Message>;
  readonly compression: Compression | null;
}

/**
 * The one message that a reader found.
 *
 * @throws ConnectError if there are none, or two, or it cannot be parsed
 */
export async function singleMessage(
  reader: EnvelopeReader,
  encoding: Encoding,
  maxBytes: number,
): Promise<Message> {
  const [first, second] = reader.messages;
  const message = first && (await parse(first, encoding, maxBytes));
  if (second !== undefined) {
    await parse(second, encoding, maxBytes);
    const extra = "protocol error: received extra input message for unary method";
    throw new ConnectError(extra, Code.Unimplemented);
  }
  reader.expectEnd();
  if (message !== undefined) return message;
  throw new ConnectError("protocol error: missing input message for unary method", Code.Unimplemented);
}

function parse(envelope: EnvelopedMessage, encoding: Encoding, maxBytes: number): Message | Promise<Message> {
  const { serialization, compression } = encoding;
  if ((envelope.flags & compressedFlag) === 0) return serialization.parse(envelope.data);
  return envelopeDecompress(envelope, compression, maxBytes).then(({ data }) => serialization.parse(data));
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
  if (compression === null || data.byteLength < compressMinBytes) return encodeEnvelope(flags, data);
  return envelopeCompress({ flags, data }, compression, compressMinBytes).then((compressed) =>
    encodeEnvelope(compressed.flags, compressed.data),
  );
}
