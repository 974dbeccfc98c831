import type { Message } from "@bufbuild/protobuf";
import type { Compression, Serialization } from "@connectrpc/connect/protocol";

/** The format and the compression of messages. */
export interface Encoding {
  readonly serialization: Serialization<Message>;
  readonly compression: Compression | null;
}

/** A message as it is sent, without an envelope. */
export interface Payload {
  readonly bytes: Uint8Array;
  /** How the bytes are compressed; null if they are not. */
  readonly compression: Compression | null;
}

/** Compresses bytes, unless there are fewer than `compressMinBytes`. */
export function compress(
  bytes: Uint8Array,
  compression: Compression | null,
  compressMinBytes: number,
): Payload | Promise<Payload> {
  if (compression === null || bytes.byteLength < compressMinBytes) return { bytes, compression: null };
  return compression.compress(bytes).then((compressed) => ({ bytes: compressed, compression }));
}
