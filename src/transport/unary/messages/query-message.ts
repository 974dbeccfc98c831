import { base64Decode } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";

/**
 * Reads the message of a GET over Connect, which is a parameter of its URL:
 * https://connectrpc.com/docs/protocol#unary-get-request
 *
 * @throws ConnectError INVALID_ARGUMENT if it should be base64 and is not
 */
export function readQueryMessage(query: URLSearchParams): Uint8Array {
  const message = query.get("message") ?? "";
  if (query.get("base64") !== "1") return new TextEncoder().encode(message);
  try {
    return base64Decode(message);
  } catch {
    throw new ConnectError("the message in the URL is no base64", Code.InvalidArgument);
  }
}
