import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

// gRPC sends an error in headers: the percent-encoded message, and a google.rpc.Status in base64 that contains the
// message and the details. Clients usually accept 8 KiB of headers. A larger error would abort the call or the whole
// connection.

/** The maximum length of the percent-encoded message, in characters. */
const maxMessageLength = 1024;

/** The maximum size of the details. With the message, they leave about 350 bytes of the 8 KiB for other headers. */
const maxDetailsBytes = 4096;

/** The maximum length of a percent-encoded UTF-16 code unit: three bytes of UTF-8, each as three characters. */
const maxCharsPerUnit = 9;

type Detail = ConnectError["details"][number];

/** @returns the error, or a copy of it with a shortened message and without the details that exceed the limit */
export function boundError(error: ConnectError): ConnectError {
  const message = boundMessage(error.rawMessage);
  const details = boundDetails(error.details);
  if (message === error.rawMessage && details.length === error.details.length) return error;
  return copyOf(error, { message, details });
}

/** The start of connect's error message if a binary message cannot be decoded. */
const decodeErrorPrefix = "parse binary: ";

/**
 * Changes the code of connect's decoding error from INTERNAL to INVALID_ARGUMENT, because the sender caused it.
 *
 * @returns any other error unchanged
 */
export function blameSender(error: ConnectError): ConnectError {
  return error.code === Code.Internal && error.rawMessage.startsWith(decodeErrorPrefix)
    ? copyOf(error, { code: Code.InvalidArgument })
    : error;
}

function copyOf(
  error: ConnectError,
  { message = error.rawMessage, code = error.code, details = error.details },
): ConnectError {
  const copy = new ConnectError(message, code, error.metadata, undefined, error.cause);
  copy.details = details;
  copy.isWireError = error.isWireError;
  return copy;
}

/**
 * Truncates the message, and replaces lone surrogates, which cannot be percent-encoded. A message may quote one from
 * a JSON request.
 */
function boundMessage(message: string): string {
  if (message.length * maxCharsPerUnit <= maxMessageLength) return message.toWellFormed();
  let length = Math.min(message.length, maxMessageLength);
  for (;;) {
    const part = message.slice(0, length).toWellFormed();
    const shortened = length === message.length ? part : `${part}…`;
    const excess = encodeURIComponent(shortened).length - maxMessageLength;
    if (excess <= 0) return shortened;
    length -= Math.max(1, Math.floor(excess / maxCharsPerUnit));
  }
}

function boundDetails(details: Detail[]): Detail[] {
  // Most details are far below the limit. Encoding them to measure them takes as long as validating the request.
  const bound = details.reduce((bytes, detail) => bytes + detailBytes(detail, upperBound(detail.value)), 0);
  if (bound <= maxDetailsBytes) return details;
  let bytes = 0;
  return details.filter((detail) => {
    const size = detailBytes(detail, messageBytes(detail));
    if (bytes + size > maxDetailsBytes) return false;
    bytes += size;
    return true;
  });
}

/** The size of a detail in a google.rpc.Status, with its type URL and at most 16 bytes of tags and lengths. */
function detailBytes(detail: Detail, valueBytes: number): number {
  const type = "desc" in detail ? detail.desc.typeName : detail.type;
  return "type.googleapis.com/".length + type.length + valueBytes + 16;
}

function messageBytes(detail: Detail): number {
  const message = "desc" in detail ? toBinary(detail.desc, create(detail.desc, detail.value)) : detail.value;
  return message.byteLength;
}

/**
 * Returns an upper bound of a value's encoded size. A number takes less than 32 bytes, and so do the tags and the
 * length of any other value.
 */
function upperBound(value: unknown): number {
  if (typeof value === "string") return 32 + 3 * value.length;
  if (value instanceof Uint8Array) return 32 + value.byteLength;
  if (typeof value !== "object" || value === null) return 32;
  // TypeScript does not know an object's keys. The keys of a map are part of the encoded message.
  const fields = value as Readonly<Record<string, unknown>>;
  let bytes = 32;
  for (const key in fields) bytes += upperBound(key) + upperBound(fields[key]);
  return bytes;
}
