import type { UnaryCall } from "./unary-call.ts";

/** Where an object keeps the call that it is about. */
export const theCall = Symbol("call");

export interface HasCall {
  readonly [theCall]: UnaryCall;
}

/**
 * Describes a property that is read from the call when it is asked for. To be defined on each object, not on its
 * prototype, so that a copy as in `{ ...request, message }` has the property, too.
 */
export function ofCall<Value>(read: (call: UnaryCall) => Value): PropertyDescriptor {
  return {
    enumerable: true,
    configurable: true,
    get(this: HasCall) {
      return read(this[theCall]);
    },
  };
}
