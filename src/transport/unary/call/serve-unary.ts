import { create, type Message } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Answer } from "../http/exchange.ts";
import { boundError } from "./bounded-error.ts";
import { UnaryHandlerContext } from "./handler-context.ts";
import { invoke } from "./invoke.ts";
import type { UnaryCall } from "./unary-call.ts";

/** The part of a call that depends on its protocol: reading the request and building the answer. */
export interface ProtocolCall {
  readonly call: UnaryCall;
  /** @throws ConnectError if the headers are invalid */
  checkHeaders(): void;
  /** @throws ConnectError if the request does not consist of exactly one valid message */
  readMessage(): Promise<Message>;
  /** @throws ConnectError if the message cannot be encoded, or is too large */
  success(message: Message): Answer | Promise<Answer>;
  failure(error: ConnectError): Answer | Promise<Answer>;
}

/** Serves a call from its headers to its answer. Never rejects. */
export async function serveUnary(protocol: ProtocolCall): Promise<void> {
  const { call } = protocol;
  const { requestGate } = call.method.options;
  call.startTimer((error) => fail(protocol, error));
  try {
    if (requestGate !== undefined) await requestGate(new UnaryHandlerContext(call));
    protocol.checkHeaders();
    const request = await protocol.readMessage();
    // The client has received DEADLINE_EXCEEDED, or has closed the connection or the stream.
    if (call.ended) return;
    const response = create(call.method.spec.method.output, await invoke(call, request));
    const answered = protocol.success(response);
    const answer = answered instanceof Promise ? await answered : answered;
    if (call.end()) call.exchange.respond(answer);
  } catch (error) {
    if (call.end(error)) await fail(protocol, error);
  }
}

async function fail(protocol: ProtocolCall, reason: unknown): Promise<void> {
  const { exchange } = protocol.call;
  const error =
    reason instanceof ConnectError
      ? reason
      : new ConnectError("internal error", Code.Internal, undefined, undefined, reason);
  try {
    exchange.respond(await protocol.failure(boundError(error)));
  } catch {
    // The error cannot be encoded, for example because a detail is not a valid message.
    exchange.abort();
  }
}
