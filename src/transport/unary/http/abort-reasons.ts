import type { IncomingMessage } from "node:http";
import { constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";

/** HTTP/2 error codes and their gRPC codes, as in connect-node. For any other code, the reason is an AbortError. */
const codes: ReadonlyMap<number, readonly [string, Code]> = new Map([
  [constants.NGHTTP2_PROTOCOL_ERROR, ["PROTOCOL_ERROR", Code.Internal]],
  [constants.NGHTTP2_INTERNAL_ERROR, ["INTERNAL_ERROR", Code.Internal]],
  [constants.NGHTTP2_FLOW_CONTROL_ERROR, ["FLOW_CONTROL_ERROR", Code.Internal]],
  [constants.NGHTTP2_SETTINGS_TIMEOUT, ["SETTINGS_TIMEOUT", Code.Internal]],
  [constants.NGHTTP2_FRAME_SIZE_ERROR, ["FRAME_SIZE_ERROR", Code.Internal]],
  [constants.NGHTTP2_REFUSED_STREAM, ["REFUSED_STREAM", Code.Unavailable]],
  [constants.NGHTTP2_CANCEL, ["CANCEL", Code.Canceled]],
  [constants.NGHTTP2_COMPRESSION_ERROR, ["COMPRESSION_ERROR", Code.Internal]],
  [constants.NGHTTP2_CONNECT_ERROR, ["CONNECT_ERROR", Code.Internal]],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, ["ENHANCE_YOUR_CALM", Code.ResourceExhausted]],
  [constants.NGHTTP2_INADEQUATE_SECURITY, ["INADEQUATE_SECURITY", Code.PermissionDenied]],
  [constants.NGHTTP2_HTTP_1_1_REQUIRED, ["HTTP_1_1_REQUIRED", Code.PermissionDenied]],
]);

/** @returns the abort reason of a call whose HTTP/2 stream was closed before its end */
export function errorFromResetCode(resetCode: number | undefined): Error {
  const [name, code] = codes.get(resetCode ?? constants.NGHTTP2_NO_ERROR) ?? [];
  if (name === undefined || resetCode === undefined) return abortError();
  const message = `http/2 stream closed with error code ${name} (0x${resetCode.toString(16)})`;
  return new ConnectError(message, code);
}

/** @returns the abort reason of a call whose HTTP/1.1 connection was closed before its end */
export function errorFromAbortedRequest({ errored }: IncomingMessage): Error {
  return errored === null ? abortError() : ConnectError.from(errored, Code.Aborted);
}

function abortError(): DOMException {
  return new DOMException("This operation was aborted", "AbortError");
}
