import { parseContentType as parseConnect } from "@connectrpc/connect/protocol-connect";
import { parseContentType as parseGrpc } from "@connectrpc/connect/protocol-grpc";
import { parseContentType as parseGrpcWeb } from "@connectrpc/connect/protocol-grpc-web";

/** What a Content-Type stands for, if it is one of a unary call. */
export interface ProtocolChoice {
  readonly protocol: "grpc" | "grpc-web" | "connect";
  /** Protobuf, not JSON. */
  readonly isBinary: boolean;
}

/** Clients send a handful of them. */
const maxRemembered = 1024;

const remembered = new Map<string, ProtocolChoice | undefined>();

/** @returns undefined for the type of a stream, and for what is no type of any of the protocols */
export function chooseProtocol(contentType: string): ProtocolChoice | undefined {
  if (remembered.has(contentType)) return remembered.get(contentType);
  const choice = parse(contentType);
  if (remembered.size < maxRemembered) remembered.set(contentType, choice);
  return choice;
}

function parse(contentType: string): ProtocolChoice | undefined {
  const grpc = parseGrpc(contentType);
  if (grpc) return { protocol: "grpc", isBinary: grpc.binary };
  const grpcWeb = parseGrpcWeb(contentType);
  if (grpcWeb) return grpcWeb.text ? undefined : { protocol: "grpc-web", isBinary: grpcWeb.binary };
  const connect = parseConnect(contentType);
  if (connect) return connect.stream ? undefined : { protocol: "connect", isBinary: connect.binary };
  return undefined;
}
