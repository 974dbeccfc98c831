import type { Message } from "@bufbuild/protobuf";
import type { HandlerContext, Interceptor } from "@connectrpc/connect";

/**
 * What an interceptor does for a unary call, as plain functions. If all interceptors have hooks, the lean path calls
 * these, and creates neither requests and responses for interceptors nor a chain of promises.
 */
export interface UnaryHooks {
  /** Called before the handler. @throws the error with which the call fails */
  readonly before?: (request: Message, context: HandlerContext) => void;
  /** Replaces an error of the handler, or of the hooks of a later interceptor. */
  readonly replaceError?: (error: unknown, context: HandlerContext) => unknown;
}

const hooksOf = new WeakMap<Interceptor, UnaryHooks>();

/** Adds hooks to an interceptor. They must have the same effect on a unary call as the interceptor itself. */
export function withUnaryHooks(interceptor: Interceptor, hooks: UnaryHooks): Interceptor {
  hooksOf.set(interceptor, hooks);
  return interceptor;
}

/** @returns the hooks of the interceptors, in their order; undefined if one of them has none */
export function findUnaryHooks(interceptors: readonly Interceptor[]): readonly UnaryHooks[] | undefined {
  const hooks = interceptors.flatMap((interceptor) => hooksOf.get(interceptor) ?? []);
  return hooks.length === interceptors.length ? hooks : undefined;
}
