import { create, type DescMessage, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
import type { Serialization } from "@connectrpc/connect/protocol";

const encodings = new WeakMap<Message, Uint8Array<ArrayBuffer>>();

/**
 * A message whose binary form is known, such as an answer that is given again and again. On the lean path it goes over
 * the wire as it is. Whoever asks for a field, as the JSON format does, has it decoded then.
 *
 * @param schema of proto3
 * @param bytes the message in binary form, not to be changed any more
 */
export function encodedMessage<Desc extends DescMessage>(
  schema: Desc,
  bytes: Uint8Array<ArrayBuffer>,
): MessageShape<Desc> {
  const message = create(schema);
  let decoded: Message | undefined;
  for (const { localName } of schema.members) {
    Object.defineProperty(message, localName, {
      enumerable: true,
      configurable: true,
      get() {
        decoded ??= fromBinary(schema, bytes);
        return Reflect.get(decoded, localName);
      },
    });
  }
  encodings.set(message, bytes);
  return message;
}

/** Takes the binary form of an {@link encodedMessage} instead of encoding it. */
export function reuseEncoding(serialization: Serialization<Message>): Serialization<Message> {
  return {
    parse: (bytes) => serialization.parse(bytes),
    serialize: (message) => encodings.get(message) ?? serialization.serialize(message),
  };
}
