import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

// gRPC sends an error in headers, and clients usually accept 8 KiB of them: the message percent-encoded, and the message
// with the details in base64. An error beyond that would break off the call, or the whole connection.

/** How many characters the message may take when it is percent-encoded. */
const maxMessageLength = 1024;

/** How many bytes the details may take: in base64, with the message, they leave 500 bytes for other headers. */
const maxDetailsBytes = 4096;

/** What percent-encoding makes of a character of UTF-16 at most: three bytes. */
const longestEncoding = 9;

type Detail = ConnectError["details"][number];

/** @returns the error, or one with less of the message and without the details that find no room */
export function boundError(error: ConnectError): ConnectError {
  const message = boundMessage(error.rawMessage);
  const details = boundDetails(error.details);
  if (message === error.rawMessage && details.length === error.details.length) return error;
  return copyOf(error, { message, details });
}

/** What connect says of a message that cannot be decoded. */
const undecodable = "parse binary: ";

/** A body that is no message is its sender's fault: INVALID_ARGUMENT, where connect says INTERNAL. */
export function blameSender(error: ConnectError): ConnectError {
  return error.code === Code.Internal && error.rawMessage.startsWith(undecodable)
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

/** Half a surrogate pair cannot be encoded; a message may repeat one that came in JSON. */
function boundMessage(message: string): string {
  if (message.length * longestEncoding <= maxMessageLength) return message.toWellFormed();
  let length = Math.min(message.length, maxMessageLength);
  for (;;) {
    const part = message.slice(0, length).toWellFormed();
    const shortened = length === message.length ? part : `${part}…`;
    const excess = encodeURIComponent(shortened).length - maxMessageLength;
    if (excess <= 0) return shortened;
    length -= Math.max(1, Math.floor(excess / longestEncoding));
  }
}

function boundDetails(details: Detail[]): Detail[] {
  // Most details are far below the limit, and encoding them takes as long as validating the request.
  const most = details.reduce((bytes, detail) => bytes + detailBytes(detail, mostBytes(detail.value)), 0);
  if (most <= maxDetailsBytes) return details;
  let bytes = 0;
  return details.filter((detail) => {
    const size = detailBytes(detail, messageBytes(detail));
    if (bytes + size > maxDetailsBytes) return false;
    bytes += size;
    return true;
  });
}

/** As it is in a google.rpc.Status: with the URL of its type. */
function detailBytes(detail: Detail, valueBytes: number): number {
  const type = "desc" in detail ? detail.desc.typeName : detail.type;
  return "type.googleapis.com/".length + type.length + valueBytes + 16;
}

function messageBytes(detail: Detail): number {
  const message = "desc" in detail ? toBinary(detail.desc, create(detail.desc, detail.value)) : detail.value;
  return message.byteLength;
}

/** No message takes more when it is encoded: a number, or the tags and the length of anything else, is below 32 bytes. */
function mostBytes(value: unknown): number {
  if (typeof value === "string") return 32 + 3 * value.length;
  if (value instanceof Uint8Array) return 32 + value.byteLength;
  if (typeof value !== "object" || value === null) return 32;
  // TypeScript knows nothing of an object's keys. Those of a map are strings of the message.
  const fields = value as Readonly<Record<string, unknown>>;
  let bytes = 32;
  for (const key in fields) bytes += mostBytes(key) + mostBytes(fields[key]);
  return bytes;
}
