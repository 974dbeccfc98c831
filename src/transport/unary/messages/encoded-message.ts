import { create, type DescMessage, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
import { type Compression, compressedFlag, type Serialization } from "@connectrpc/connect/protocol";
import type { Encoding, Payload } from "./encoding.ts";
import { fillEnvelope, prefixBytes } from "./envelope.ts";

/**
 * A message in binary form, such as an answer that is sent repeatedly. The lean path sends the bytes without encoding
 * the message again. It makes any other form, such as compressed JSON, when it is first asked for, and keeps it.
 */
export class EncodedMessage<Desc extends DescMessage> {
  readonly schema: Desc;
  /** Called after each growth of `size`. */
  onGrowth: (() => void) | undefined;
  readonly #binary: Form;
  /** By the serialization, because each method may have other options for JSON. */
  readonly #forms = new Map<Serialization<Message>, Forms>();
  #size = 0;

  /**
   * @param schema the schema of a proto3 message
   * @param bytes the message in binary form
   */
  constructor(schema: Desc, bytes: Uint8Array) {
    this.schema = schema;
    this.#binary = this.#keep(bytes, null);
  }

  /** The message in binary form. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#binary.bytes;
  }

  /** The approximate size in memory of all forms, in bytes, including the few objects around the message. */
  get size(): number {
    return this.#size;
  }

  /**
   * Creates a message for one answer. It is decoded when a field is read, for example by connect-node. The lean path
   * does not send what an interceptor changes in it.
   */
  toMessage(): MessageShape<Desc> {
    const message = create(this.schema);
    Object.defineProperties(message, fieldsOf(this.schema));
    origins.set(message, { encoded: this, decoded: undefined });
    return message;
  }

  /**
   * Returns the message as it is sent.
   *
   * @param compressMinBytes the least size to compress, the same in all calls with the same serialization
   * @throws ConnectError if the message cannot be encoded, or is too large
   */
  form({ serialization, compression }: Encoding, compressMinBytes: number): Form | Promise<Form> {
    const forms = this.#formsIn(serialization);
    const known = compression ? forms.compressed.get(compression) : forms.plain;
    if (known) return known;
    const bytes = forms.plain?.bytes ?? serialization.serialize(this.toMessage());
    if (compression && bytes.byteLength >= compressMinBytes) return this.#compress(forms, bytes, compression);
    forms.plain ??= bytes === this.bytes ? this.#binary : this.#keep(bytes, null);
    return forms.plain;
  }

  #formsIn(serialization: Serialization<Message>): Forms {
    let forms = this.#forms.get(serialization);
    if (forms === undefined) {
      forms = { plain: undefined, compressed: new Map() };
      this.#forms.set(serialization, forms);
    }
    return forms;
  }

  #compress({ compressed }: Forms, bytes: Uint8Array, compression: Compression): Promise<Form> {
    const form = compression.compress(bytes).then((result) => this.#keep(result, compression));
    compressed.set(compression, form);
    // Only this call and those that wait with it fail: the next one tries again.
    form.catch(() => compressed.delete(compression));
    return form;
  }

  /** Copies the bytes into an envelope, because a compression's result may be a small part of a large buffer. */
  #keep(bytes: Uint8Array, compression: Compression | null): Form {
    const envelope = new Uint8Array(prefixBytes + bytes.byteLength);
    fillEnvelope(envelope, compression ? compressedFlag : 0, bytes);
    this.#size += objectBytes + envelope.byteLength;
    this.onGrowth?.();
    return { envelope, bytes: envelope.subarray(prefixBytes), compression };
  }
}

/** A message as it is sent. */
interface Form extends Payload {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The bytes in the envelope of gRPC and gRPC-Web, so that they are not copied for each answer. */
  readonly envelope: Uint8Array;
}

/** The forms of a message in one format. */
interface Forms {
  plain: Form | undefined;
  /** Promises, so that concurrent calls share one compression. */
  readonly compressed: Map<Compression, Promise<Form>>;
}

/** The approximate size of the objects around the bytes of a form, as measured for 3,000 messages. */
const objectBytes = 650;

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

/** @returns the message as it is sent, if it was created from an {@link EncodedMessage}; otherwise undefined */
export function keptForm(
  message: Message,
  encoding: Encoding,
  compressMinBytes: number,
): Form | Promise<Form> | undefined {
  return origins.get(message)?.encoded.form(encoding, compressMinBytes);
}
