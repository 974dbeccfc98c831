import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";
import type { ConnectError } from "@connectrpc/connect";
import { type Compression, compressionNegotiate } from "@connectrpc/connect/protocol";
import {
  headerAcceptEncoding,
  headerEncoding,
  headerTimeout,
  parseTimeout,
} from "@connectrpc/connect/protocol-grpc";
import type { UnaryMethod } from "../call/unary-methods.ts";
import { headerOf } from "../http/node-headers.ts";

/** The parsed request headers, which gRPC and gRPC-Web share. */
export interface GrpcHeaders {
  readonly timeoutMs: number | undefined;
  readonly requestCompression: Compression | null;
  readonly responseCompression: Compression | null;
  /** Set if a header is invalid. */
  readonly error: ConnectError | undefined;
}

const timeoutName = headerTimeout.toLowerCase();
const encodingName = headerEncoding.toLowerCase();
const acceptEncodingName = headerAcceptEncoding.toLowerCase();

export function readGrpcHeaders(headers: IncomingHttpHeaders, { options }: UnaryMethod): GrpcHeaders {
  const timeout = parseTimeout(headerOf(headers, timeoutName), options.maxTimeoutMs);
  const compression = compressionNegotiate(
    options.acceptCompression,
    headerOf(headers, encodingName),
    headerOf(headers, acceptEncodingName),
    headerAcceptEncoding,
  );
  return {
    timeoutMs: timeout.timeoutMs,
    requestCompression: compression.request,
    responseCompression: compression.response,
    error: compression.error ?? timeout.error,
  };
}

export function grpcResponseHeaders(
  contentType: string,
  { responseCompression }: GrpcHeaders,
): OutgoingHttpHeaders {
  return responseCompression === null
    ? { "content-type": contentType }
    : { "content-type": contentType, [encodingName]: responseCompression.name };
}
