import { readFileSync } from "node:fs";
import { createFileRegistry, type DescMessage, fromBinary, type Message } from "@bufbuild/protobuf";
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";
import { type Any, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

// The schema belongs to the suite and is not in this repository: it is read at run time. The types of the messages that
// the server uses are declared here, as generated code would declare them. The suite's proto files document each field.

/** The environment variable with the path of the file of descriptors: `buf build` creates it from the proto files. */
const schemaFileVariable = "CONFORMANCE_SCHEMA";

/** Required to read and write messages in an `Any` as JSON. */
export const registry = readRegistry();

export interface Header extends Message {
  name: string;
  value: string[];
}

export interface ErrorDefinition extends Message {
  code: number;
  message?: string;
  details: Any[];
}

export interface UnaryResponseDefinition extends Message {
  responseHeaders: Header[];
  response:
    | { case: "responseData"; value: Uint8Array }
    | { case: "error"; value: ErrorDefinition }
    | { case: undefined; value?: undefined };
  responseTrailers: Header[];
  responseDelayMs: number;
}

export interface StreamResponseDefinition extends Message {
  responseHeaders: Header[];
  responseData: Uint8Array[];
  responseDelayMs: number;
  error?: ErrorDefinition;
  responseTrailers: Header[];
}

export interface UnaryRequest extends Message {
  responseDefinition?: UnaryResponseDefinition;
}

export interface StreamRequest extends Message {
  responseDefinition?: StreamResponseDefinition;
}

export interface BidiStreamRequest extends StreamRequest {
  fullDuplex: boolean;
}

export interface RequestInfo extends Message {
  requestHeaders: Header[];
  timeoutMs?: bigint;
  requests: Any[];
  connectGetInfo?: Message & { queryParams: Header[] };
}

export interface Response extends Message {
  payload?: Message & { data: Uint8Array; requestInfo?: RequestInfo };
}

export interface ServerCompatRequest extends Message {
  httpVersion: number;
  useTls: boolean;
  clientTlsCert: Uint8Array;
  messageReceiveLimit: number;
  serverCreds?: Message & { cert: Uint8Array; key: Uint8Array };
}

export interface ServerCompatResponse extends Message {
  host: string;
  port: number;
  pemCert: Uint8Array;
}

interface Method<Kind, Input extends Message> {
  methodKind: Kind;
  input: GenMessage<Input>;
  output: GenMessage<Response>;
}

export const RequestInfoSchema = message<RequestInfo>("ConformancePayload.RequestInfo");
export const ServerCompatRequestSchema = message<ServerCompatRequest>("ServerCompatRequest");
export const ServerCompatResponseSchema = message<ServerCompatResponse>("ServerCompatResponse");

// The type is that of the service in the suite's service.proto.
export const ConformanceService = named("ConformanceService", registry.getService) as GenService<{
  unary: Method<"unary", UnaryRequest>;
  serverStream: Method<"server_streaming", StreamRequest>;
  clientStream: Method<"client_streaming", UnaryRequest>;
  bidiStream: Method<"bidi_streaming", BidiStreamRequest>;
  unimplemented: Method<"unary", Message>;
  idempotentUnary: Method<"unary", UnaryRequest>;
}>;

function message<Shape extends Message>(name: string): GenMessage<Shape> {
  const desc: DescMessage = named(name, registry.getMessage);
  // The type is that of the message in the suite's proto files.
  return desc as GenMessage<Shape>;
}

function named<Desc>(name: string, find: (typeName: string) => Desc | undefined): Desc {
  const found = find(`connectrpc.conformance.v1.${name}`);
  if (found === undefined) throw new Error(`the schema of the suite has no ${name}`);
  return found;
}

function readRegistry() {
  const file = process.env[schemaFileVariable];
  if (file === undefined)
    throw new Error(`${schemaFileVariable} is not set; npm run test:conformance sets it`);
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(file)));
}
