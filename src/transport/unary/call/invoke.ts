import { create, type DescMessage, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor, UnaryRequest } from "@connectrpc/connect";
import { UnaryHandlerContext } from "./handler-context.ts";
import { InterceptedRequest, InterceptedResponse } from "./intercepted.ts";
import type { UnaryCall } from "./unary-call.ts";
import type { UnaryHooks } from "./unary-hooks.ts";

type AnyFn = ReturnType<Interceptor>;

/**
 * Passes a request through the interceptors, in their order, to the handler.
 *
 * @returns the message of the response
 */
export function invoke(
  call: UnaryCall,
  message: Message,
): MessageInitShape<DescMessage> | Promise<MessageInitShape<DescMessage>> {
  const { spec, hooks } = call.method;
  if (hooks === undefined) return intercept(call, message);
  return hooks.length === 0
    ? spec.impl(message, new UnaryHandlerContext(call))
    : callWithHooks(call, message, hooks);
}

async function callWithHooks(
  call: UnaryCall,
  message: Message,
  hooks: readonly UnaryHooks[],
): Promise<Message> {
  const { spec } = call.method;
  const context = new UnaryHandlerContext(call);
  let entered = 0;
  try {
    for (const { before } of hooks) {
      before?.(message, context);
      entered += 1;
    }
    return create(spec.method.output, await spec.impl(message, context));
  } catch (thrown) {
    // As in a chain of interceptors, an error passes only those before the one that has thrown it.
    throw hooks
      .slice(0, entered)
      .reduceRight(
        (error, { replaceError }) => (replaceError ? replaceError(error, context) : error),
        thrown,
      );
  }
}

async function intercept(call: UnaryCall, message: Message): Promise<Message> {
  const { spec, options } = call.method;
  const request = new InterceptedRequest(call, message);
  const implementation = async (passed: UnaryRequest) => {
    const context = contextFor(call, request, passed);
    const output = create(spec.method.output, await spec.impl(passed.message, context));
    return new InterceptedResponse(call, output);
  };
  // The chain is built for each call, because an interceptor may keep state of a call between its two functions.
  // The type assertion holds because a unary method receives no streams.
  const chain = options.interceptors.reduceRight<AnyFn>(
    (next, interceptor) => interceptor(next),
    implementation as AnyFn,
  );
  const response = await chain(request);

  if (!(response instanceof InterceptedResponse)) {
    replaceHeaders(call.responseHeader, response.header);
    replaceHeaders(call.responseTrailer, response.trailer);
  }
  // The response of a unary method has a single message, never a stream.
  return response.message as Message;
}

/** The handler's context. An interceptor may have replaced the request; then the context shows the replacement. */
function contextFor(call: UnaryCall, request: UnaryRequest, passed: UnaryRequest): HandlerContext {
  const context = new UnaryHandlerContext(call);
  if (passed === request) return context;
  return Object.defineProperties(context, {
    service: { value: passed.service },
    requestHeader: { value: passed.header },
    signal: { value: passed.signal },
    onAbort: { value: undefined },
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
