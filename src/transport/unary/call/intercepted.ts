import type { DescMessage, DescMethodUnary, DescService, Message } from "@bufbuild/protobuf";
import type { ContextValues, UnaryRequest, UnaryResponse } from "@connectrpc/connect";
import type { UnaryCall } from "./unary-call.ts";

/** Where an object keeps the call that it is about. */
const theCall = Symbol("call");

interface HasCall {
  readonly [theCall]: UnaryCall;
}

/**
 * Describes a property that is read from the call when it is asked for. To be defined on each object, not on its
 * prototype, so that a copy as in `{ ...request, message }` has the property, too.
 */
function ofCall<Value>(read: (call: UnaryCall) => Value): PropertyDescriptor {
  return {
    enumerable: true,
    configurable: true,
    get(this: HasCall) {
      return read(this[theCall]);
    },
  };
}

/** What interceptors see of a request. */
export class InterceptedRequest implements UnaryRequest, HasCall {
  readonly stream = false;
  readonly message: Message;
  readonly method: DescMethodUnary<DescMessage, DescMessage>;
  readonly service: DescService;
  readonly requestMethod: string;
  readonly url: string;
  readonly contextValues: ContextValues;
  declare readonly header: Headers;
  declare readonly signal: AbortSignal;
  readonly [theCall]: UnaryCall;

  constructor(call: UnaryCall, message: Message) {
    const { method } = call.method.spec;
    this.message = message;
    this.method = method;
    this.service = method.parent;
    this.requestMethod = call.exchange.requestMethod;
    this.url = call.exchange.url;
    this.contextValues = call.values;
    this[theCall] = call;
    Object.defineProperty(this, "header", requestHeader);
    Object.defineProperty(this, "signal", signal);
  }
}

/** What interceptors see of a response. */
export class InterceptedResponse implements UnaryResponse, HasCall {
  readonly stream = false;
  readonly message: Message;
  readonly method: DescMethodUnary<DescMessage, DescMessage>;
  readonly service: DescService;
  declare readonly header: Headers;
  declare readonly trailer: Headers;
  readonly [theCall]: UnaryCall;

  constructor(call: UnaryCall, message: Message) {
    const { method } = call.method.spec;
    this.message = message;
    this.method = method;
    this.service = method.parent;
    this[theCall] = call;
    Object.defineProperty(this, "header", responseHeader);
    Object.defineProperty(this, "trailer", responseTrailer);
  }
}

const requestHeader = ofCall((call) => call.requestHeader);
const signal = ofCall((call) => call.signal);
const responseHeader = ofCall((call) => call.responseHeader);
const responseTrailer = ofCall((call) => call.responseTrailer);
