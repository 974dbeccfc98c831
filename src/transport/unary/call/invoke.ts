import { create, type DescMessage, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor, UnaryRequest } from "@connectrpc/connect";
import { UnaryHandlerContext } from "./handler-context.ts";
import { InterceptedRequest, InterceptedResponse } from "./intercepted.ts";
import type { UnaryCall } from "./unary-call.ts";

type AnyFn = ReturnType<Interceptor>;

/** Gives a request to the interceptors, in their order, and then to the implementation; their answer comes back. */
export function invoke(
  call: UnaryCall,
  message: Message,
): MessageInitShape<DescMessage> | Promise<MessageInitShape<DescMessage>> {
  const { spec, options } = call.method;
  return options.interceptors.length === 0
    ? spec.impl(message, new UnaryHandlerContext(call))
    : intercept(call, message);
}

async function intercept(call: UnaryCall, message: Message): Promise<Message> {
  const { spec, options } = call.method;
  const request = new InterceptedRequest(call, message);
  const implementation = async (passed: UnaryRequest) => {
    const context = contextFor(call, request, passed);
    const output = create(spec.method.output, await spec.impl(passed.message, context));
    return new InterceptedResponse(call, output);
  };
  // They are put together for each call, for an interceptor may keep something of a call between its two functions.
  // A unary method gets no streams.
  const chain = options.interceptors.reduceRight<AnyFn>(
    (next, interceptor) => interceptor(next),
    implementation as AnyFn,
  );
  const response = await chain(request);

  if (!(response instanceof InterceptedResponse)) {
    replaceHeaders(call.responseHeader, response.header);
    replaceHeaders(call.responseTrailer, response.trailer);
  }
  // A unary method's response has one message.
  return response.message as Message;
}

/** An interceptor may pass on a request of its own. */
function contextFor(call: UnaryCall, request: UnaryRequest, passed: UnaryRequest): HandlerContext {
  const context = new UnaryHandlerContext(call);
  if (passed === request) return context;
  return Object.defineProperties(context, {
    service: { value: passed.service },
    requestHeader: { value: passed.header },
    signal: { value: passed.signal },
    values: { value: passed.contextValues },
  });
}

function replaceHeaders(target: Headers, source: Headers): void {
  if (target === source) return;
  target.forEach((_, name) => {
    target.delete(name);
  });
  source.forEach((value, name) => {
    target.set(name, value);
  });
}
