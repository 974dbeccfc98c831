import { create, type DescMessage, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
import type { Serialization } from "@connectrpc/connect/protocol";
import { fillEnvelope, prefixBytes } from "./envelope.ts";

/**
 * A message in binary form, such as an answer that is given again and again. On the lean path it goes over the wire as
 * it is.
 */
export class EncodedMessage<Desc extends DescMessage> {
  readonly schema: Desc;
  /** In the envelope of gRPC and gRPC-Web, so that it need not be copied for each answer. */
  readonly envelope: Uint8Array<ArrayBuffer>;
  /** The message alone. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /**
   * @param schema of proto3
   * @param bytes the message in binary form
   */
  constructor(schema: Desc, bytes: Uint8Array) {
    this.schema = schema;
    this.envelope = new Uint8Array(prefixBytes + bytes.byteLength);
    fillEnvelope(this.envelope, 0, bytes);
    this.bytes = this.envelope.subarray(prefixBytes);
  }

  /** About how much memory it takes, in bytes: there are a few objects around it. */
  get size(): number {
    return 500 + this.envelope.byteLength;
  }

  /** For one answer. Whoever asks for a field, as the JSON format does, has it decoded then. */
  toMessage(): MessageShape<Desc> {
    const message = create(this.schema);
    Object.defineProperties(message, fieldsOf(this.schema));
    origins.set(message, { encoded: this, decoded: undefined });
    return message;
  }
}

/** Where a message comes from. */
interface Origin {
  readonly encoded: EncodedMessage<DescMessage>;
  decoded: Message | undefined;
}

const origins = new WeakMap<Message, Origin>();

/** The same functions for all messages of a kind: with functions of its own, each would be an object of its own kind. */
const fields = new WeakMap<DescMessage, PropertyDescriptorMap>();

function fieldsOf(schema: DescMessage): PropertyDescriptorMap {
  const known = fields.get(schema);
  if (known) return known;
  const created = Object.fromEntries(schema.members.map(({ localName }) => [localName, field(localName)]));
  fields.set(schema, created);
  return created;
}

function field(name: string): PropertyDescriptor {
  return {
    enumerable: true,
    configurable: true,
    get(this: Message) {
      const origin = origins.get(this);
      if (origin === undefined) return undefined;
      origin.decoded ??= fromBinary(origin.encoded.schema, origin.encoded.bytes);
      return Reflect.get(origin.decoded, name);
    },
  };
}

/** Takes the binary form of an {@link EncodedMessage} instead of encoding it. */
export function reuseEncoding(serialization: Serialization<Message>): Serialization<Message> {
  return {
    parse: (bytes) => serialization.parse(bytes),
    serialize: (message) => origins.get(message)?.encoded.bytes ?? serialization.serialize(message),
  };
}

/** @returns the envelope of an {@link EncodedMessage}, if it was serialized as it is */
export function reuseEnvelope(message: Message, serialized: Uint8Array): Uint8Array | undefined {
  const encoded = origins.get(message)?.encoded;
  return encoded?.bytes === serialized ? encoded.envelope : undefined;
}
