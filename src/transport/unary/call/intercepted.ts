import type { DescMessage, DescMethodUnary, DescService, Message } from "@bufbuild/protobuf";
import type { ContextValues, UnaryRequest, UnaryResponse } from "@connectrpc/connect";
import type { UnaryCall } from "./unary-call.ts";

/** The key under which an object keeps its call. */
const callKey = Symbol("call");

interface HasCall {
  readonly [callKey]: UnaryCall;
}

/**
 * Describes a property that is read from the call on access. It must be defined on each object instead of the
 * prototype, so that a copy such as `{ ...request, message }` has the property, too.
 */
function ofCall<Value>(read: (call: UnaryCall) => Value): PropertyDescriptor {
  return {
    enumerable: true,
    configurable: true,
    get(this: HasCall) {
      return read(this[callKey]);
    },
  };
}

/** The request that interceptors receive. */
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
  readonly [callKey]: UnaryCall;

  /** @throws any error of the adapter's option `contextValues` */
  constructor(call: UnaryCall, message: Message) {
    call.createValues();
    const { method } = call.method.spec;
    this.message = message;
    this.method = method;
    this.service = method.parent;
    this.requestMethod = call.exchange.requestMethod;
    this.url = call.exchange.url;
    this.contextValues = call.values;
    this[callKey] = call;
    Object.defineProperty(this, "header", requestHeader);
    Object.defineProperty(this, "signal", signal);
  }
}

/** The response that interceptors receive. */
export class InterceptedResponse implements UnaryResponse, HasCall {
  readonly stream = false;
  readonly message: Message;
  readonly method: DescMethodUnary<DescMessage, DescMessage>;
  readonly service: DescService;
  declare readonly header: Headers;
  declare readonly trailer: Headers;
  readonly [callKey]: UnaryCall;

  constructor(call: UnaryCall, message: Message) {
    const { method } = call.method.spec;
    this.message = message;
    this.method = method;
    this.service = method.parent;
    this[callKey] = call;
    Object.defineProperty(this, "header", responseHeader);
    Object.defineProperty(this, "trailer", responseTrailer);
  }
}

const requestHeader = ofCall((call) => call.requestHeader);
const signal = ofCall((call) => call.signal);
const responseHeader = ofCall((call) => call.responseHeader);
const responseTrailer = ofCall((call) => call.responseTrailer);
