import type { HandlerContext } from "@connectrpc/connect";

/**
 * What handlers use of Connect's HandlerContext. Read `signal` only where it is needed: the lean unary path creates it on
 * first access, which is expensive. It aborts when the caller no longer waits for an answer.
 */
export type CallContext = Pick<HandlerContext, "signal">;
