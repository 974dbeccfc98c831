import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

/**
 * Reads the message of a GET over Connect from the query parameter `message`:
 * https://connectrpc.com/docs/protocol#unary-get-request
 *
 * @returns the bytes of the message, which may be compressed
 * @throws ConnectError INVALID_ARGUMENT if the parameter `base64` is 1, but the message is not valid base64
 */
export function readQueryMessage(query: URLSearchParams): Uint8Array {
  const message = query.get("message") ?? "";
  if (query.get("base64") !== "1") return new TextEncoder().encode(message);
  try {
    return base64Decode(message);
  } catch {
    throw new ConnectError("the message in the URL is not valid base64", Code.InvalidArgument);
  }
}
