import type { Message } from "@bufbuild/protobuf";
import { type Compression, compressedFlag } from "@connectrpc/connect/protocol";
import { keptForm } from "./encoded-message.ts";
import { compress, type Encoding, type Payload } from "./encoding.ts";
import { fillEnvelope, prefixBytes } from "./envelope.ts";

/**
 * Encodes a message without an envelope.
 *
 * @throws ConnectError if the message cannot be encoded, or is too large
 */
export function encode(
  message: Message,
  encoding: Encoding,
  compressMinBytes: number,
): Payload | Promise<Payload> {
  const { serialization, compression } = encoding;
  const kept = keptForm(message, encoding, compressMinBytes);
  return kept ?? compress(serialization.serialize(message), compression, compressMinBytes);
}

/**
 * Encodes a message in an envelope.
 *
 * @throws ConnectError if the message cannot be encoded, or is too large
 */
export function envelop(
  message: Message,
  encoding: Encoding,
  compressMinBytes: number,
): Uint8Array | Promise<Uint8Array> {
  const { serialization, compression } = encoding;
  const kept = keptForm(message, encoding, compressMinBytes);
  if (kept instanceof Promise) return kept.then(({ envelope }) => envelope);
  return kept?.envelope ?? envelopBytes(0, serialization.serialize(message), compression, compressMinBytes);
}

/** @param flags without the flag of compression, which is added if the data is compressed */
export function envelopBytes(
  flags: number,
  data: Uint8Array,
  compression: Compression | null,
  compressMinBytes: number,
): Uint8Array | Promise<Uint8Array> {
  const payload = compress(data, compression, compressMinBytes);
  return payload instanceof Promise
    ? payload.then((compressed) => withPrefix(flags, compressed))
    : withPrefix(flags, payload);
}

/** Uses Node's buffer pool, because allocating an ArrayBuffer for each answer is expensive. */
function withPrefix(flags: number, { bytes, compression }: Payload): Uint8Array {
  const envelope = Buffer.allocUnsafe(prefixBytes + bytes.byteLength);
  fillEnvelope(envelope, compression === null ? flags : flags | compressedFlag, bytes);
  return envelope;
}
