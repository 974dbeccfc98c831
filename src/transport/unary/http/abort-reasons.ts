import type { IncomingMessage } from "node:http";
import { constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";

/** As gRPC understands the error codes of HTTP/2; of any other, a call is told nothing but that it is aborted. */
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

/** Why a stream of HTTP/2 closed too early, as a handler's signal tells it. */
export function errorFromResetCode(resetCode: number | undefined): Error {
  const [name, code] = codes.get(resetCode ?? constants.NGHTTP2_NO_ERROR) ?? [];
  if (name === undefined || resetCode === undefined) return abortError();
  const message = `http/2 stream closed with error code ${name} (0x${resetCode.toString(16)})`;
  return new ConnectError(message, code);
}

/** Why a request of HTTP/1.1 ended too early, as a handler's signal tells it. */
export function errorFromAbortedRequest({ errored }: IncomingMessage): Error {
  return errored === null ? abortError() : ConnectError.from(errored, Code.Aborted);
}

function abortError(): DOMException {
  return new DOMException("This operation was aborted", "AbortError");
}
