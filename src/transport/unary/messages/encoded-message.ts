import { create, type DescMessage, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
import type { Serialization } from "@connectrpc/connect/protocol";
import { fillEnvelope, prefixBytes } from "./envelope.ts";

/**
 * A message in binary form, such as an answer that is sent repeatedly. The lean path sends the bytes without encoding
 * the message again.
 */
export class EncodedMessage<Desc extends DescMessage> {
  readonly schema: Desc;
  /** The message in the envelope of gRPC and gRPC-Web, so that it is not copied for each answer. */
  readonly envelope: Uint8Array<ArrayBuffer>;
  /** The message without the envelope. */
  readonly bytes: Uint8Array<ArrayBuffer>;

  /**
   * @param schema the schema of a proto3 message
   * @param bytes the message in binary form
   */
  constructor(schema: Desc, bytes: Uint8Array) {
    this.schema = schema;
    this.envelope = new Uint8Array(prefixBytes + bytes.byteLength);
    fillEnvelope(this.envelope, 0, bytes);
    this.bytes = this.envelope.subarray(prefixBytes);
  }

  /** The approximate size in memory, in bytes, including the few objects around the message. */
  get size(): number {
    return 500 + this.envelope.byteLength;
  }

  /** Creates a message for one answer. It is decoded when a field is read, for example by the JSON format. */
  toMessage(): MessageShape<Desc> {
    const message = create(this.schema);
    Object.defineProperties(message, fieldsOf(this.schema));
    origins.set(message, { encoded: this, decoded: undefined });
    return message;
  }
}

/** The encoded message from which a message was created. */
interface Origin {
  readonly encoded: EncodedMessage<DescMessage>;
  decoded: Message | undefined;
}

const origins = new WeakMap<Message, Origin>();

/** All messages of a schema share these getters. With separate ones, V8 would create a shape for each message. */
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

/** Wraps a serialization: a message from an {@link EncodedMessage} is serialized to its bytes without encoding it. */
export function reuseEncoding(serialization: Serialization<Message>): Serialization<Message> {
  return {
    parse: (bytes) => serialization.parse(bytes),
    serialize: (message) => origins.get(message)?.encoded.bytes ?? serialization.serialize(message),
  };
}

/** @returns the envelope of the message's {@link EncodedMessage}; undefined if `serialized` is not its bytes */
export function reuseEnvelope(message: Message, serialized: Uint8Array): Uint8Array | undefined {
  const encoded = origins.get(message)?.encoded;
  return encoded?.bytes === serialized ? encoded.envelope : undefined;
}
